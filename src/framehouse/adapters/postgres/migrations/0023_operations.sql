-- For operators: paused and draining routes, request limits of routes, deleted accounts, keys of the admin API, and a
-- log of the changes that operators make. See docs/operations.md.

create table route_controls (
    model      text not null,
    route      text not null,
    state      text not null check (state in ('paused', 'draining')),
    changed_at timestamptz not null default now(),
    primary key (model, route)
);
comment on table route_controls is 'The routes that an operator has paused or is draining. A resumed route has no row.';

create table route_requests (
    model        text not null,
    route        text not null,
    requested_at timestamptz not null
);
create index route_requests_by_time on route_requests (model, route, requested_at);
comment on table route_requests is 'The requests of the last minute to each route that has a request limit.';

alter table accounts add column deleted_at timestamptz;
comment on column accounts.deleted_at is 'not null: the sweeper deletes the data of the account, and then this row';

create table admin_keys (
    id         bigint generated always as identity primary key,
    name       text not null,
    prefix     text not null,
    hash       bytea not null unique,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
comment on column admin_keys.hash is 'SHA-256 of the key; the key itself is not stored';

create table audit_log (
    id         bigint generated always as identity primary key,
    changed_at timestamptz not null default now(),
    actor      text not null,
    action     text not null,
    subject    text not null,
    details    jsonb not null default '{}'
);
create index audit_log_by_time on audit_log (changed_at);
comment on table audit_log is 'Each change that an operator made with a command or with the admin API.';
