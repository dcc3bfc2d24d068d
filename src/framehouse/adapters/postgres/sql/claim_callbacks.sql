-- Claims up to :limit due messages. The accounts take turns: the account with the fewest concurrent deliveries is
-- first. In this process, an account has at most :account_limit concurrent deliveries, and the account
-- :busy_accounts[i] already has :deliveries[i] deliveries. The messages of :full_accounts are skipped. The number of
-- concurrent deliveries to a host is also limited. This limit is :healthy_limit for hosts in :healthy_hosts, one for
-- hosts in :failing_hosts, and :unknown_limit for all other hosts. The statement searches each host separately, so that
-- ten thousand messages to a dead receiver do not delay the messages to other hosts.
with recursive hosts as (
    (select host from callback_messages where state = 'waiting' order by host limit 1)
    union all
    select (select m.host from callback_messages m where m.state = 'waiting' and m.host > h.host order by m.host limit 1)
    from hosts h
    where h.host is not null
), due as (
    select m.id, m.run_at
    from hosts h
    cross join lateral (
        select count(*) as n from callback_messages b
        where b.state = 'waiting' and b.host = h.host and b.claim is not null and b.lease_until >= now()
    ) busy
    cross join lateral (
        select id, run_at from callback_messages w
        where w.state = 'waiting' and w.host = h.host and w.run_at <= now() and (w.claim is null or w.lease_until < now())
          and (:full_accounts::bigint[] = '{}' or not exists (
              select from tasks t where t.id = w.task_id and t.account_id = any (:full_accounts)
              union all
              select from elements e where e.id = w.element_task_id and e.account_id = any (:full_accounts)
          ))
        order by w.run_at, w.id
        limit greatest(case when h.host = any (:healthy_hosts::text[]) then :healthy_limit when h.host = any (:failing_hosts::text[]) then 1 else :unknown_limit end - busy.n, 0)
    ) m
    where h.host is not null
), by_account as (
    select d.id, d.run_at, row_number() over (partition by o.account_id order by d.run_at, d.id) + coalesce(b.n, 0) as place
    from due d
    join callback_messages m on m.id = d.id
    cross join lateral (
        select t.account_id from tasks t where t.id = m.task_id
        union all
        select e.account_id from elements e where e.id = m.element_task_id
    ) o
    left join unnest(:busy_accounts::bigint[], :deliveries::bigint[]) as b (account_id, n) on b.account_id = o.account_id
), picked as (
    -- the array makes the subquery run only once, even if the planner has no statistics for the table yet
    select m.id
    from callback_messages m
    where m.id = any (array(select id from by_account where place <= :account_limit order by place, run_at, id limit :limit))
      and m.state = 'waiting' and (m.claim is null or m.lease_until < now())
    for update of m skip locked
), claimed as (
    update callback_messages m
    set claim = :claim, lease_until = now() + :lease, attempt = m.attempt + 1, tried_at = now()
    from picked
    where m.id = picked.id
    returning m.*
)
select c.id as message_id, a.id as account_id, c.host as message_host, c.claim, c.attempt as message_attempt, c.created_at as message_created_at,
       c.status as message_status, c.status_message as message_status_message, c.units_charged as message_units,
       c.updated_at as message_updated_at, a.callback_secret,
       case when a.callback_secret_old_until > now() then a.callback_secret_old end as callback_secret_old,
       t as task, e as element_task
from claimed c
left join task_answers t on t.id = c.task_id
left join element_answers e on e.id = c.element_task_id
join accounts a on a.id = coalesce(t.account_id, e.account_id)
order by c.run_at;
