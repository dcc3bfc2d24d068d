-- Signing in to the console by the link that the first start prints.

create table sign_in_codes (
    hash       bytea primary key,
    account_id bigint not null references accounts,
    expires_at timestamptz not null
);
comment on table sign_in_codes is 'Each is good for one key, until it expires; the codes themselves are kept nowhere.';
