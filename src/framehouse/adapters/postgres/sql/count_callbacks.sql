-- Counts the messages that are younger than :age, by state and by the class of the last status code, such as 2xx. For
-- each combination, also returns the number of attempts, and the age of the oldest message in seconds.
select state, case when last_code between 100 and 599 then last_code / 100 || 'xx'
                   when last_code is null then 'none' else 'other' end as answer,
       count(*) as messages, coalesce(sum(attempt), 0) as attempts,
       extract(epoch from now() - min(created_at))::float8 as oldest_s
from callback_messages
where created_at > now() - :age::interval
group by 1, 2
order by 1, 2;
