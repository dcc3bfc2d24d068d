-- Returns messages of an account, newest first. If :task_id or :external_id is not null, only messages of that task are
-- returned. If :failed is true, only messages that were given up or whose last attempt failed are returned.
select m.id, t.id as task_id, t.external_task_id, m.status, m.state, m.attempt as attempts, m.last_code, m.last_error, t.callback_url,
       m.created_at, m.tried_at, case when m.state = 'waiting' then m.run_at end as next_try_at
from callback_messages m
cross join lateral (
    select id, account_id, external_task_id, callback_url from tasks where id = m.task_id
    union all
    select id, account_id, external_task_id, callback_url from elements where id = m.element_task_id
) t
where t.account_id = :account_id and (:task_id::uuid is null and :external_id::text is null or t.id = :task_id or t.external_task_id = :external_id)
  and (not :failed or m.state in ('gone', 'given_up') or m.state = 'waiting' and m.last_error is not null)
order by m.created_at desc, m.sequence desc
limit :limit;
