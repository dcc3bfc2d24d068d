-- Callbacks: a message is queued in the transaction that changes the status, and the row is the delivery's job.

alter table accounts
    add column callback_secret_old text,
    add column callback_secret_old_until timestamptz;
comment on column accounts.callback_secret_old is 'secrets of before, between spaces; they sign too until the overlap is over';

create table callback_messages (
    id             uuid primary key default gen_random_uuid(),
    task_id        uuid not null references tasks on delete cascade,
    sequence       smallint not null,
    host           text not null,
    status         text not null,
    status_message text not null,
    units_charged  bigint not null,
    updated_at     timestamptz not null,
    state          text not null default 'waiting' check (state in ('waiting', 'delivered', 'gone', 'given_up')),
    created_at     timestamptz not null default now(),
    run_at         timestamptz not null default now(),
    lease_until    timestamptz,
    claim          uuid,
    attempt        integer not null default 0,
    tried_at       timestamptz,
    last_code      integer,
    last_error     text,
    unique (task_id, sequence)
);
comment on column callback_messages.status is 'with status_message, units_charged and updated_at: the task as it was at the change';
comment on column callback_messages.state is 'gone: the receiver answered 410; given_up: 24 hours of tries were not enough';
create index callback_messages_waiting on callback_messages (host, run_at, id) where state = 'waiting';
create index callback_messages_claimed on callback_messages (host) where state = 'waiting' and claim is not null;
create index callback_messages_by_age on callback_messages (created_at);
