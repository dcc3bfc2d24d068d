-- Saved elements: made by the librarian, used by tasks, which take along what they need.

create table elements (
    id               uuid primary key,
    element_id       bigint not null unique check (element_id < 9007199254740992),
    account_id       bigint not null references accounts,
    external_task_id text,
    status           text not null default 'submitted' check (status in ('submitted', 'processing', 'succeed', 'failed')),
    status_message   text not null default '',
    name             text not null,
    description      text not null,
    tags             text[] not null,
    callback_url     text,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    deleted_at       timestamptz,
    run_at           timestamptz not null default now(),
    lease_until      timestamptz,
    claim            uuid,
    attempt          smallint not null default 0,
    last_error       text,
    unique (account_id, external_task_id)
);
comment on table elements is 'An element and the task of making it, which is its own job: run_at, lease_until, claim and attempt as in batches.';
comment on column elements.id is 'the task''s id; element_id is what tasks name it by';
comment on column elements.deleted_at is 'the row stays, for its external id is taken for ever; its pictures do not';
create index elements_by_account on elements (account_id, created_at desc, id desc) where deleted_at is null;
create index elements_due on elements (run_at, id) where status in ('submitted', 'processing');

create table element_references (
    element uuid not null references elements on delete cascade,
    index   smallint not null,
    field   text not null,
    url     text,
    key     text,
    width   integer,
    height  integer,
    primary key (element, index),
    check (url is not null or key is not null)
);
comment on table element_references is 'The pictures of elements that are not deleted, the frontal one first; as task_references.';
comment on column element_references.field is 'where in the request it came in';

create index element_references_by_key on element_references (key) where key is not null;

create or replace view needed_references as
select r.key
from task_references r
join tasks t on t.id = r.task_id
where r.key is not null and t.status in ('submitted', 'processing')
union all
select r.key from element_references r where r.key is not null;

create view element_answers as
select e.*, (
    select json_agg(json_build_object('field', r.field, 'url', coalesce(r.url, ''), 'key', coalesce(r.key, ''),
                                      'width', coalesce(r.width, 0), 'height', coalesce(r.height, 0)) order by r.index)
    from element_references r where r.element = e.id
)::text as images
from elements e;
comment on view element_answers is 'An element with its pictures: what a client is told, and what the librarian works from.';

-- What tasks take along. The pictures are task_references too, counted on behind the task's own.

create table task_elements (
    task_id     uuid not null references tasks on delete cascade,
    index       smallint not null,
    name        text not null,
    description text not null,
    primary key (task_id, index)
);
alter table task_references add column element smallint;
comment on column task_references.element is 'the place in element_list whose picture it is; null: of image_list';
alter type accept_row add attribute task_elements jsonb;

-- Accept a group of tasks. One row's refusal does not touch its neighbours, and a row that was already
-- accepted (its answer was lost on the way) is answered as accepted again.
create or replace function accept_tasks(p_rows jsonb)
returns table (ordinal int, outcome text, task_id uuid, created_at timestamptz, detail text)
language plpgsql as $$
declare
    r       record;
    a       accounts;
    known   idempotency_keys;
    gone    bigint;
begin
    -- One order for all groups: by account, so that two groups never lock the same accounts crosswise.
    for r in
        select (o.value).*
        from (
            select jsonb_populate_record(null::accept_row, e.value) as value
            from jsonb_array_elements(p_rows) e
        ) o
        order by (o.value).account_id, (o.value).ordinal
    loop
        ordinal := r.ordinal; task_id := r.task_id; created_at := now(); detail := null;
        select * into a from accounts where id = r.account_id for update;
        if exists (select 1 from tasks t where t.id = r.task_id) then
            select t.created_at into created_at from tasks t where t.id = r.task_id;
            outcome := 'accepted'; return next; continue;
        end if;
        if r.idempotency_key is not null then
            select * into known from idempotency_keys k
            where k.account_id = r.account_id and k.key = r.idempotency_key
              and k.created_at > now() - interval '24 hours';
            if found then
                task_id := known.task_id; created_at := known.created_at;
                outcome := case when known.body_hash = r.body_hash then 'replayed' else 'key_reused' end;
                return next; continue;
            end if;
        end if;
        if a.disabled then
            outcome := 'disabled'; return next; continue;
        end if;
        if r.external_task_id is not null and exists (
            select 1 from tasks t where t.account_id = r.account_id and t.external_task_id = r.external_task_id
        ) then
            outcome := 'external_taken'; return next; continue;
        end if;
        -- locked, so that an element is deleted either before this, or after the task took along what it needs
        perform from elements e where e.element_id = any (r.elements) order by e.id for share;
        select o.element_id into gone from jsonb_to_recordset(r.task_elements) as o (element_id bigint, owned boolean)
        where o.owned and not exists (
            select 1 from elements e
            where e.element_id = o.element_id and e.account_id = r.account_id and e.deleted_at is null
        )
        limit 1;
        if found then
            outcome := 'element_gone'; detail := gone; return next; continue;
        end if;
        if a.images_in_flight + r.image_count > a.concurrency then
            outcome := 'over_concurrency';
            detail := format('%s of %s images in flight, %s more asked for',
                             a.images_in_flight, a.concurrency, r.image_count);
            return next; continue;
        end if;
        if a.units_used + a.units_reserved + r.units > a.units_limit then
            outcome := 'over_units';
            detail := format('%s units left, %s needed',
                             greatest(a.units_limit - a.units_used - a.units_reserved, 0), r.units);
            return next; continue;
        end if;

        update accounts
        set images_in_flight = images_in_flight + r.image_count, units_reserved = units_reserved + r.units
        where id = r.account_id;
        insert into tasks (id, account_id, external_task_id, model, prompt, elements, result_type, image_count,
                           resolution, ratio, watermark, callback_url, owner, units_reserved)
        values (r.task_id, r.account_id, r.external_task_id, r.model, r.prompt, r.elements, r.result_type,
                r.image_count, r.resolution, r.ratio, r.watermark, r.callback_url, r.owner, r.units);
        insert into shots (task_id, index, prompt, framing, seed)
        select r.task_id, s.index, s.prompt, s.framing, s.seed
        from jsonb_to_recordset(r.shots) as s (index smallint, prompt text, framing text, seed bigint);
        insert into batches (task_id, model, shot_indexes)
        select r.task_id, r.model, array(select jsonb_array_elements_text(b.value)::smallint)
        from jsonb_array_elements(r.batches) with ordinality as b (value, place)
        order by b.place;
        insert into task_elements (task_id, index, name, description)
        select r.task_id, e.index, e.name, e.description
        from jsonb_to_recordset(r.task_elements) as e (index smallint, name text, description text);
        insert into task_references (task_id, index, element, url, key, width, height)
        select r.task_id, f.index, f.element, f.url, f.key, f.width, f.height
        from jsonb_to_recordset(r.task_references)
             as f (index smallint, element smallint, url text, key text, width integer, height integer);
        if r.idempotency_key is not null then
            insert into idempotency_keys as k (account_id, key, body_hash, task_id)
            values (r.account_id, r.idempotency_key, r.body_hash, r.task_id)
            on conflict (account_id, key) do update
            set body_hash = excluded.body_hash, task_id = excluded.task_id, created_at = excluded.created_at;
        end if;
        outcome := 'accepted'; return next;
    end loop;
end $$;

-- Callbacks of both kinds of tasks are one queue.

alter table callback_messages
    alter column task_id drop not null,
    add column element_task_id uuid references elements on delete cascade,
    add unique (element_task_id, sequence),
    add check (num_nonnulls(task_id, element_task_id) = 1);

-- Tell of a change, in the transaction that makes it. The caller has just changed the row of the task.
-- A message behind one that still waits is not due until that one is done: end_callback makes it so.
create function queue_message(
    p_task uuid, p_element_task uuid, p_url text, p_status text, p_status_message text, p_units bigint, p_updated_at timestamptz
) returns void
language plpgsql as $$
declare
    before text;
begin
    if p_url is null then
        return;
    end if;
    -- locked, so that end_callback either is seen here or sees what is inserted here
    select state into before from callback_messages
    where (task_id = p_task or element_task_id = p_element_task) and sequence = 1
    for update;
    insert into callback_messages
        (task_id, element_task_id, sequence, host, status, status_message, units_charged, updated_at, run_at)
    values (p_task, p_element_task, case p_status when 'processing' then 1 else 2 end,
            left(lower(substring(p_url from '^[^/]*//([^/?#]*)')), 300),
            p_status, p_status_message, p_units, p_updated_at,
            case when before = 'waiting' then 'infinity' else now() end)
    on conflict do nothing;
end $$;

create or replace function queue_callback(t tasks) returns void
language sql as $$
    select queue_message(t.id, null, t.callback_url, t.status, t.status_message, t.units_charged, t.updated_at)
$$;

create function queue_callback(e elements) returns void
language sql as $$
    select queue_message(null, e.id, e.callback_url, e.status, e.status_message, 0, e.updated_at)
$$;

-- A claimed message is delivered, or nobody will try again; the task's next one is due.
create or replace function end_callback(p_id uuid, p_claim uuid, p_state text, p_code integer, p_error text) returns void
language plpgsql as $$
declare
    m callback_messages;
begin
    update callback_messages
    set state = p_state, last_code = p_code, last_error = p_error, claim = null, lease_until = null
    where id = p_id and claim = p_claim and state = 'waiting'
    returning * into m;
    if found then
        update callback_messages set run_at = now()
        where (task_id = m.task_id or element_task_id = m.element_task_id)
          and sequence > m.sequence and state = 'waiting' and run_at = 'infinity';
    end if;
end $$;

-- Accept an element. One that was already accepted (its answer was lost on the way) is answered as accepted again.
create function create_element(p_row jsonb)
returns table (outcome text, task_id uuid, created_at timestamptz)
language plpgsql as $$
declare
    r     elements := jsonb_populate_record(null::elements, p_row);
    known idempotency_keys;
begin
    perform from accounts where id = r.account_id for update;
    task_id := r.id; created_at := now(); outcome := 'accepted';
    if exists (select 1 from elements e where e.id = r.id) then
        select e.created_at into created_at from elements e where e.id = r.id;
        return next; return;
    end if;
    select * into known from idempotency_keys k
    where k.account_id = r.account_id and k.key = p_row ->> 'idempotency_key' and k.created_at > now() - interval '24 hours';
    if found then
        task_id := known.task_id; created_at := known.created_at;
        outcome := case when known.body_hash = (p_row ->> 'body_hash')::bytea then 'replayed' else 'key_reused' end;
        return next; return;
    end if;
    if exists (
        select 1 from elements e where e.account_id = r.account_id and e.external_task_id = r.external_task_id
    ) then
        outcome := 'external_taken'; return next; return;
    end if;
    insert into elements (id, element_id, account_id, external_task_id, name, description, tags, callback_url)
    values (r.id, r.element_id, r.account_id, r.external_task_id, r.name, r.description, r.tags, r.callback_url);
    insert into element_references (element, index, field, url, key, width, height)
    select r.id, f.index, f.field, f.url, f.key, f.width, f.height
    from jsonb_to_recordset(p_row -> 'images')
         as f (index smallint, field text, url text, key text, width integer, height integer);
    if p_row ->> 'idempotency_key' is not null then
        insert into idempotency_keys as k (account_id, key, body_hash, task_id)
        values (r.account_id, p_row ->> 'idempotency_key', (p_row ->> 'body_hash')::bytea, r.id)
        on conflict (account_id, key) do update
        set body_hash = excluded.body_hash, task_id = excluded.task_id, created_at = excluded.created_at;
    end if;
    return next;
end $$;

-- Take due elements (only this one, if given), oldest first, and mark them as processing.
create function claim_elements(p_most integer, p_lease interval, p_claim uuid, p_only uuid) returns setof element_answers
language plpgsql as $$
declare
    due uuid[];
    e   elements;
begin
    due := array(
        select id from elements
        where status in ('submitted', 'processing') and run_at <= now() and (p_only is null or id = p_only)
          and (claim is null or lease_until < now() or claim = p_claim)  -- this very claim: its answer was lost
        order by run_at, id
        for update skip locked
        limit p_most
    );
    for e in
        update elements set status = 'processing', updated_at = now()
        where id = any (due) and status = 'submitted'
        returning *
    loop
        perform queue_callback(e);
    end loop;
    update elements set claim = p_claim, lease_until = now() + p_lease, attempt = attempt + 1 where id = any (due);
    return query select * from element_answers where id = any (due);
end $$;

-- End the making of a claimed element; p_images are its pictures' places, by index. Late twins change nothing.
create function end_element(p_id uuid, p_claim uuid, p_status text, p_message text, p_images jsonb) returns void
language plpgsql as $$
declare
    e elements;
begin
    update elements set status = p_status, status_message = p_message, updated_at = now(), claim = null, lease_until = null
    where id = p_id and claim = p_claim and status = 'processing'
    returning * into e;
    if found then
        update element_references r set key = f.key, width = f.width, height = f.height
        from jsonb_to_recordset(p_images) as f (index smallint, key text, width integer, height integer)
        where r.element = p_id and r.index = f.index;
        perform queue_callback(e);
    end if;
end $$;

-- Delete an account's element and let go of its pictures. p_at makes a repetition known whose answer was lost.
create function delete_element(p_account bigint, p_element_id bigint, p_at timestamptz) returns uuid
language plpgsql as $$
declare
    gone uuid;
begin
    update elements set deleted_at = p_at
    where account_id = p_account and element_id = p_element_id and status = 'succeed'
      and (deleted_at is null or deleted_at = p_at)
    returning id into gone;
    delete from element_references where element = gone;
    return gone;
end $$;
