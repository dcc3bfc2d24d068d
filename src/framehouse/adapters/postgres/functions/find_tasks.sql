-- Returns one row for each query. Each array contains one value per query. `place` is the position of the query in the
-- arrays, counted from 1. If no task is found, all columns of `task` are null. If a key is null, no key is checked. If
-- a kind is null, tasks of every kind are found. A task id takes precedence over an external id: the second part of the
-- union runs only if the first part returns no row. Planning the statement takes longer than executing it, so the
-- function uses a generic plan.
create or replace function find_tasks(p_accounts bigint[], p_ids uuid[], p_external_ids text[], p_keys bigint[], p_kinds text[])
returns table (place bigint, refused boolean, task task_answers)
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
    return query
    select query.place, query.key is not null and (a.disabled or k.id is null), row(t.*)::task_answers
    from unnest(p_accounts, p_ids, p_external_ids, p_keys, p_kinds)
         with ordinality as query (account, id, external_id, key, kind, place)
    left join accounts a on a.id = query.account
    left join api_keys k on k.id = query.key and k.revoked_at is null
    left join lateral (
        (select t.* from task_answers t where t.id = query.id and t.account_id = query.account)
        union all
        (select t.* from task_answers t where t.account_id = query.account and t.external_task_id = query.external_id)
        limit 1
    ) t on query.kind is null or t.kind = query.kind;
end $$;
