-- Returns one row for each query, in order. Each array contains one value per query. If no task is found, the columns
-- of the task are null. If a key is null, no key is checked. If a kind is null, tasks of every kind are found. A task
-- id takes precedence over an external id: the second part of the union runs only if the first part returns no row.
select query.key is not null and (a.disabled or k.id is null) as refused, t.*
from unnest(:account_ids::bigint[], :task_ids::uuid[], :external_ids::text[], :key_ids::bigint[], :kinds::text[])
     with ordinality as query (account, id, external_id, key, kind, place)
left join accounts a on a.id = query.account
left join api_keys k on k.id = query.key and k.revoked_at is null
left join lateral (
    (select t.* from task_answers t where t.id = query.id and t.account_id = query.account)
    union all
    (select t.* from task_answers t where t.account_id = query.account and t.external_task_id = query.external_id)
    limit 1
) t on query.kind is null or t.kind = query.kind
order by query.place;
