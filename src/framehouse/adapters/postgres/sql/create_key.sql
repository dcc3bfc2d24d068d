-- Creates an API key of an account. Bearer keys have a hash. JWT keys have an access key and a secret key.
with created as (
    insert into api_keys (account_id, prefix, hash, access_key, secret_key, models)
    select id, :prefix, :hash, :access_key, :secret_key, :models from accounts where id = :account_id and deleted_at is null
    on conflict do nothing
    returning account_id, prefix, models
)
insert into audit_log (actor, action, subject, details)
select :actor, 'key.create', c.prefix, jsonb_build_object('account', a.name, 'models', c.models)
from created c join accounts a on a.id = c.account_id;
