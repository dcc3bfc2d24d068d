-- Creates a key of the admin API.
with created as (
    insert into admin_keys (name, prefix, hash) values (:name, :prefix, :hash)
    on conflict (hash) do nothing
    returning prefix, name
)
insert into audit_log (actor, action, subject, details)
select :actor, 'admin_key.create', prefix, jsonb_build_object('name', name) from created;
