-- Revokes the active key of the admin API whose prefix begins with :start, and returns the prefix of this key. If there
-- is no such key, or more than one, changes nothing and returns no row. A second run with the same :at returns the prefix
-- again.
with matching as (
    select id from admin_keys where revoked_at is null and starts_with(prefix, :start)
), revoked as (
    update admin_keys set revoked_at = :at
    where id in (select id from matching) and (select count(*) from matching) = 1
    returning prefix, name
), audited as (
    insert into audit_log (actor, action, subject, details)
    select :actor, 'admin_key.revoke', prefix, jsonb_build_object('name', name) from revoked
)
select prefix from revoked
union all
select prefix from admin_keys where starts_with(prefix, :start) and revoked_at = :at;
