-- Exchanges a code for a new key. The statement deletes the code, so that the code cannot be used twice.
with used as (
    delete from sign_in_codes where hash = :code_hash returning account_id, expires_at
)
insert into api_keys (account_id, prefix, hash)
select used.account_id, :prefix, :key_hash
from used join accounts a on a.id = used.account_id
where used.expires_at > now() and not a.disabled;
