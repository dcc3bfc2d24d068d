-- Changes an account. If a value is null, its column does not change. :no_limit removes the units limit. The audit log
-- contains the old value and the new value of each column that has changed.
with before as materialized (
    select * from accounts where name = :name and deleted_at is null for update
), changed as (
    update accounts a
    set concurrency = coalesce(:concurrency, a.concurrency),
        units_limit = case when :no_limit then null else coalesce(:units_limit, a.units_limit) end,
        disabled = coalesce(:disabled, a.disabled),
        weight = coalesce(:weight, a.weight)
    from before
    where a.id = before.id
    returning a.*
), differences as (
    select jsonb_object_agg(o.key, jsonb_build_array(o.value, n.value)) as details
    from before b, changed c, jsonb_each(to_jsonb(b)) o, jsonb_each(to_jsonb(c)) n
    where o.key = n.key and o.value <> n.value and o.key in ('concurrency', 'units_limit', 'disabled', 'weight')
), audited as (
    insert into audit_log (actor, action, subject, details)
    select :actor, 'account.set', :name, details from differences where details is not null
)
select id from changed;
