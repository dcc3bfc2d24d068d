-- Revokes an API key. Returns the prefix of the key, or no row if the key does not exist or is already revoked. A second
-- run with the same :at, for example because the result of the first run was lost, returns the prefix again.
with revoked as (
    update api_keys set revoked_at = :at where id = :key_id and revoked_at is null
    returning account_id, prefix
), audited as (
    insert into audit_log (actor, action, subject, details)
    select :actor, 'key.revoke', r.prefix, jsonb_build_object('account', a.name)
    from revoked r join accounts a on a.id = r.account_id
)
select prefix from revoked
union all
select prefix from api_keys where id = :key_id and revoked_at = :at;
