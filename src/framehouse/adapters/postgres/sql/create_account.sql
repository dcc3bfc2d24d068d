-- Creates an account, unless the name is already used. Returns the id of the new account, or no row. A second run with
-- the same secret, for example because the result of the first run was lost, returns the same id.
with created as (
    insert into accounts (name, concurrency, units_limit, weight, callback_secret)
    values (:name, :concurrency, :units_limit, :weight, :secret)
    on conflict (name) do nothing
    returning id, name, concurrency, units_limit, weight
), audited as (
    insert into audit_log (actor, action, subject, details)
    select :actor, 'account.create', name, jsonb_build_object('concurrency', concurrency, 'units_limit', units_limit, 'weight', weight)
    from created
)
select id from created
union all
select id from accounts where name = :name and callback_secret = :secret;
