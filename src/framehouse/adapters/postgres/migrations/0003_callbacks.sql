-- Callbacks: a message is queued in the transaction that changes the status, and the row is the delivery's job.

alter table accounts
    add column callback_secret_old text,
    add column callback_secret_old_until timestamptz;
comment on column accounts.callback_secret_old is 'the secret before the last rotation, which signs too until the overlap is over';

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
create index callback_messages_by_age on callback_messages (created_at);

-- Tell of a change, in the transaction that makes it. The caller has just changed the task's row.
create function queue_callback(t tasks) returns void
language sql as $$
    insert into callback_messages (task_id, sequence, host, status, status_message, units_charged, updated_at)
    select t.id, case t.status when 'processing' then 1 else 2 end, lower(substring(t.callback_url from '^[^/]*//([^/?#]*)')),
           t.status, t.status_message, t.units_charged, t.updated_at
    where t.callback_url is not null
    on conflict (task_id, sequence) do nothing
$$;

create function start_tasks(p_tasks uuid[]) returns void
language plpgsql as $$
declare
    t tasks;
begin
    for t in
        update tasks set status = 'processing', updated_at = now()
        from (select id from tasks where id = any (p_tasks) and status = 'submitted' order by id for update) due
        where tasks.id = due.id
        returning tasks.*
    loop
        perform queue_callback(t);
    end loop;
end $$;

create or replace function end_task(
    p_task uuid, p_status text, p_message text, p_charge bigint, p_retention interval
) returns void
language plpgsql as $$
declare
    t tasks;
begin
    update tasks
    set status = p_status, status_message = p_message, units_charged = p_charge, updated_at = now(), ended_at = now(),
        expires_at = now() + p_retention
    where id = p_task and status in ('submitted', 'processing')
    returning * into t;
    if not found then
        return;
    end if;
    -- in the order in which leases are renewed, so that the two never wait for each other
    delete from batches where id in (select id from batches where task_id = p_task order by id for update);
    update accounts
    set images_in_flight = images_in_flight - t.image_count,
        units_reserved = units_reserved - t.units_reserved,
        units_used = units_used + p_charge
    where id = t.account_id;
    perform queue_callback(t);
end $$;
