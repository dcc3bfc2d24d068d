-- The last day's messages by state and last answer (0: none), with their tries and the age of the oldest in seconds.
select state, coalesce(last_code, 0) as code, count(*) as messages, coalesce(sum(attempt), 0) as tries,
       extract(epoch from now() - min(created_at))::float8 as oldest_s
from callback_messages
where created_at > now() - interval '25 hours'
group by state, coalesce(last_code, 0)
order by state, code;
