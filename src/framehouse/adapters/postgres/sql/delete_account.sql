-- Marks an account as deleted, so that the sweeper deletes its data. The account is renamed, so that its name can be used
-- for a new account. Its keys and sign-in codes become invalid immediately. Returns the id, or no row if there is no such
-- account. A second run with the same :at returns the id again.
with deleted as (
    update accounts
    set deleted_at = :at, disabled = true, name = left(name, 80) || ' (deleted ' || id || ')'
    where name = :name and deleted_at is null
    returning id
), revoked as (
    update api_keys k set revoked_at = now() from deleted d where k.account_id = d.id and k.revoked_at is null
), signed_out as (
    delete from sign_in_codes c using deleted d where c.account_id = d.id
), audited as (
    insert into audit_log (actor, action, subject, details) select :actor, 'account.delete', :name, jsonb_build_object('id', id) from deleted
)
select id from deleted
union all
select id from accounts where deleted_at = :at and starts_with(name, left(:name, 80) || ' (deleted ');
