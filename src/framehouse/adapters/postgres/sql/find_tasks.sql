-- $1 accounts, $2 task ids or nulls, $3 external ids, $4 keys or nulls, in step: one row for each, in order, all null where
-- there is no such task. A task's own id goes before somebody's external one. The parts of each union are looked into in
-- turn, until one has a row.
select asked.key is not null and (a.disabled or k.id is null) as refused, t.*
from unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[]) with ordinality
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
