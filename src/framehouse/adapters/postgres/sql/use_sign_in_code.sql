-- $1 hash of the code, $2 prefix and $3 hash of the new key. A code is used by being removed, so it cannot be used twice.
with used as (
    delete from sign_in_codes where hash = $1 returning account_id, expires_at
)
insert into api_keys (account_id, prefix, hash)
select used.account_id, $2, $3
from used join accounts a on a.id = used.account_id
where used.expires_at > now() and not a.disabled;
