-- Replaces the callback secret. During :overlap, callbacks are signed with the new secret and the old secret. If the
-- overlap of an earlier rotation has not ended, callbacks are also signed with its old secrets until the new overlap
-- ends. A second run with the same secret changes only the end of the overlap.
with before as (
    select callback_secret from accounts where name = :name and deleted_at is null
), rotated as (
    update accounts
    set callback_secret_old = case when callback_secret = :secret then callback_secret_old
            else callback_secret || case when callback_secret_old_until > now() then ' ' || callback_secret_old else '' end end,
        callback_secret_old_until = now() + :overlap,
        callback_secret = :secret
    where name = :name and deleted_at is null
    returning name, callback_secret
), audited as (
    insert into audit_log (actor, action, subject) select :actor, 'account.rotate_secret', r.name from rotated r, before b where b.callback_secret <> :secret
)
select callback_secret from rotated;
