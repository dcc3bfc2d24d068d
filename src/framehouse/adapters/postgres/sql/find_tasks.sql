-- One row for each place of the four arrays, in order; all null if there is no such task. A null key is not checked. A task id
-- takes precedence over an external id: the second part of the union runs only if the first finds no row.
select asked.key is not null and (a.disabled or k.id is null) as refused, t.*
from unnest(:account_ids::bigint[], :task_ids::uuid[], :external_ids::text[], :key_ids::bigint[]) with ordinality
     as asked (account, id, external_id, key, place)
left join accounts a on a.id = asked.account
left join api_keys k on k.id = asked.key and k.revoked_at is null
left join lateral (
    (select t.* from task_answers t where t.id = asked.id and t.account_id = asked.account)
    union all
    (select t.* from task_answers t where t.account_id = asked.account and t.external_task_id = asked.external_id)
    limit 1
) t on true
order by asked.place;
