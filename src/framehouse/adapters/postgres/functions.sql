-- What must happen in one transaction and one round trip. Put in place after the migrations, whenever this file is another:
-- while older processes still call them, so what a function takes and answers may only grow. What else changes, signatures
-- and types, is a migration; and any change here comes with a new number there, so that an older release stays out.
-- Locks are always taken in the order task, its batches by id, account, so that no two of these wait for each other.

-- Accept a group of tasks. One row's refusal does not touch its neighbours, and a row that was already
-- accepted (its answer was lost on the way) is answered as accepted again. What is decided row by row is written
-- for all of them at once, which costs a third. The plans hold for groups of all sizes: making them takes longer than
-- running them.
create or replace function accept_tasks(p_rows jsonb)
returns table (ordinal int, outcome text, task_id uuid, created_at timestamptz, detail text)
language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    rows     accept_row[] := array(select r from jsonb_populate_recordset(null::accept_row, p_rows) r);
    r        record;
    account  bigint;
    images   bigint;  -- in flight, and units taken, of the account, with what this group adds
    units    bigint;
    externals text[]; -- what this group accepts for the account
    keys     text[];
    keyed    int[];
    known    record;
    gone     bigint;
    keys_sent boolean := false;
    accepted int[] := '{}';
begin
    perform from accounts a where a.id in (select o.account_id from unnest(rows) o) order by a.id for update;
    for r in
        select o.*, a.disabled, a.concurrency, a.images_in_flight, a.units_limit,
               a.units_used + a.units_reserved as units_taken,
               (select t.created_at from tasks t where t.id = o.task_id) as before,
               o.key_id is not null and not exists (select from api_keys k where k.id = o.key_id and k.revoked_at is null) as key_gone
        from unnest(rows) o left join accounts a on a.id = o.account_id
        order by o.account_id, o.ordinal
    loop
        ordinal := r.ordinal; task_id := r.task_id; created_at := now(); detail := null;
        if account is distinct from r.account_id then
            account := r.account_id; images := r.images_in_flight; units := r.units_taken;
            externals := '{}'; keys := '{}'; keyed := '{}';
        end if;
        if r.before is not null then
            created_at := r.before; outcome := 'accepted'; return next; continue;
        end if;
        if r.key_gone then
            outcome := 'key_gone'; return next; continue;
        end if;
        if r.idempotency_key is not null then
            select o.task_id, o.body_hash, now() as created_at into known
            from unnest(rows) o where o.ordinal = keyed[array_position(keys, r.idempotency_key)];
            if not found then
                select * into known from idempotency_keys k
                where k.account_id = r.account_id and k.key = r.idempotency_key
                  and k.created_at > now() - interval '24 hours';
            end if;
            if found then
                task_id := known.task_id; created_at := known.created_at;
                outcome := case when known.body_hash = r.body_hash then 'replayed' else 'key_reused' end;
                return next; continue;
            end if;
        end if;
        if r.disabled then
            outcome := 'disabled'; return next; continue;
        end if;
        if r.external_task_id is not null and (r.external_task_id = any (externals) or exists (
            select 1 from tasks t where t.account_id = r.account_id and t.external_task_id = r.external_task_id
            union all
            select 1 from taken_ids i
            where i.account_id = r.account_id and i.kind = 'task' and i.external_task_id = r.external_task_id
        )) then
            outcome := 'external_taken'; return next; continue;
        end if;
        if r.elements <> '{}' then
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
        end if;
        if images + r.image_count > r.concurrency then
            outcome := 'over_concurrency';
            detail := format('%s of %s images in flight, %s more asked for', images, r.concurrency, r.image_count);
            return next; continue;
        end if;
        if units + r.units > r.units_limit then
            outcome := 'over_units';
            detail := format('%s units left, %s needed', greatest(r.units_limit - units, 0), r.units);
            return next; continue;
        end if;
        images := images + r.image_count; units := units + r.units;
        accepted := accepted || r.ordinal;
        if r.external_task_id is not null then
            externals := externals || r.external_task_id;
        end if;
        if r.idempotency_key is not null then
            keys := keys || r.idempotency_key; keyed := keyed || r.ordinal; keys_sent := true;
        end if;
        outcome := 'accepted'; return next;
    end loop;
    if accepted = '{}' then
        return;
    end if;
    with o as materialized (select * from unnest(rows) o where o.ordinal = any (accepted)),
    t as (
        insert into tasks (id, account_id, external_task_id, model, prompt, elements, result_type, image_count,
                           resolution, ratio, watermark, callback_url, owner, units_reserved)
        select o.task_id, o.account_id, o.external_task_id, o.model, o.prompt, o.elements, o.result_type, o.image_count,
               o.resolution, o.ratio, o.watermark, o.callback_url, o.owner, o.units
        from o
    ), s as (
        insert into shots (task_id, index, prompt, framing, seed)
        select o.task_id, s.index, s.prompt, s.framing, s.seed
        from o, jsonb_to_recordset(o.shots) as s (index smallint, prompt text, framing text, seed bigint)
    ), b as (
        insert into batches (task_id, model, shot_indexes)
        select o.task_id, o.model, array(select jsonb_array_elements_text(b.value)::smallint)
        from o, jsonb_array_elements(o.batches) with ordinality as b (value, place)
        order by o.ordinal, b.place
    )
    update accounts a
    set images_in_flight = a.images_in_flight + sums.images, units_reserved = a.units_reserved + sums.units
    from (select o.account_id, sum(o.image_count) as images, sum(o.units) as units from o group by o.account_id) sums
    where a.id = sums.account_id;
    if exists (select from unnest(rows) o where o.task_elements <> '[]' or o.task_references <> '[]') then
        insert into task_elements (task_id, index, name, description)
        select o.task_id, e.index, e.name, e.description
        from unnest(rows) o, jsonb_to_recordset(o.task_elements) as e (index smallint, name text, description text)
        where o.ordinal = any (accepted);
        insert into task_references (task_id, index, element, url, key, width, height)
        select o.task_id, f.index, f.element, f.url, f.key, f.width, f.height
        from unnest(rows) o, jsonb_to_recordset(o.task_references)
             as f (index smallint, element smallint, url text, key text, width integer, height integer)
        where o.ordinal = any (accepted);
    end if;
    if keys_sent then
        insert into idempotency_keys as k (account_id, key, body_hash, task_id)
        select o.account_id, o.idempotency_key, o.body_hash, o.task_id from unnest(rows) o
        where o.ordinal = any (accepted) and o.idempotency_key is not null
        on conflict (account_id, key) do update
        set body_hash = excluded.body_hash, task_id = excluded.task_id, created_at = excluded.created_at;
    end if;
end $$;

-- Tell of a change, in the transaction that makes it. The caller has just changed the row of the task.
-- A message behind one that still waits is not due until that one is done: end_callback makes it so.
create or replace function queue_message(
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

create or replace function queue_callback(e elements) returns void
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

-- Apart from the claim, so that tasks and batches are never locked in the other order.
create or replace function start_tasks(p_tasks uuid[]) returns void
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

-- End a task whose row the caller has locked: charge, free quota, drop the remaining work, tell of it.
create or replace function end_task(p_task uuid, p_status text, p_message text, p_charge bigint, p_retention interval)
returns void
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

-- Record one finished shot of a claimed batch; with the last one the task succeeds and is charged.
-- Answers 'lost' (somebody else holds the batch, or the task has ended: nothing was changed), 'kept' or 'succeeded';
-- the same again when it runs twice because its answer was lost.
create or replace function settle_shot(
    p_task uuid, p_batch bigint, p_claim uuid, p_index smallint, p_engine text, p_key text, p_watermark_key text, p_media_type text,
    p_width integer, p_height integer, p_retention interval
) returns text
language plpgsql as $$
declare
    t tasks;
begin
    select * into t from tasks where id = p_task for update;
    if exists (select 1 from shots where task_id = p_task and index = p_index and key = p_key) then
        return case t.status when 'succeed' then 'succeeded' else 'kept' end;
    end if;
    if not exists (select 1 from batches where id = p_batch and task_id = p_task and claim = p_claim) then
        return 'lost';
    end if;
    update shots
    set painted_at = now(), engine = p_engine, key = p_key, watermark_key = nullif(p_watermark_key, ''),
        media_type = p_media_type, width = p_width, height = p_height
    where task_id = t.id and index = p_index and painted_at is null;
    if not found then
        return 'kept';
    end if;
    update tasks set images_done = images_done + 1, updated_at = now() where id = t.id;
    if t.images_done + 1 = t.image_count then
        perform end_task(t.id, 'succeed', '', t.units_reserved, p_retention);
        return 'succeeded';
    end if;
    delete from batches b
    where b.id = p_batch and not exists (
        select 1 from shots s
        where s.task_id = b.task_id and s.index = any (b.shot_indexes) and s.painted_at is null
    );
    return 'kept';
end $$;

-- End a task as failed because of a claimed batch; nothing is charged. False: the batch was lost meanwhile.
create or replace function fail_batch(p_batch bigint, p_claim uuid, p_message text, p_retention interval)
returns boolean
language plpgsql as $$
declare
    t uuid;
begin
    select tasks.id into t from tasks join batches b on b.task_id = tasks.id
    where b.id = p_batch and b.claim = p_claim
    for update of tasks;
    if not found or not exists (select 1 from batches where id = p_batch and claim = p_claim) then
        return false;
    end if;
    perform end_task(t, 'failed', p_message, 0, p_retention);
    return true;
end $$;

-- Cancel a task of an account. Null: no such task; false: it had ended before.
create or replace function cancel_task(p_task uuid, p_account bigint, p_message text, p_retention interval)
returns boolean
language plpgsql as $$
declare
    t tasks;
begin
    select * into t from tasks where id = p_task and account_id = p_account for update;
    if not found then
        return null;
    end if;
    if t.status in ('succeed', 'failed') then
        return false;
    end if;
    perform end_task(p_task, 'failed', p_message, 0, p_retention);
    return true;
end $$;

-- Accept an element. One that was already accepted (its answer was lost on the way) is answered as accepted again.
create or replace function create_element(p_row jsonb)
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
        union all
        select 1 from taken_ids i
        where i.account_id = r.account_id and i.kind = 'element' and i.external_task_id = r.external_task_id
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

-- Take due elements (only this one, if given; only those whose pictures are all here, if p_ready), oldest first, and mark
-- them as processing.
create or replace function claim_elements(p_most integer, p_lease interval, p_claim uuid, p_only uuid, p_ready boolean)
returns setof element_answers
language plpgsql as $$
declare
    due uuid[];
    e   elements;
begin
    due := array(
        select id from elements
        where status in ('submitted', 'processing') and run_at <= now() and (p_only is null or id = p_only)
          and (claim is null or lease_until < now() or claim = p_claim)  -- this very claim: its answer was lost
          and (not p_ready or not exists (select from element_references r where r.element = elements.id and r.key is null))
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
create or replace function end_element(p_id uuid, p_claim uuid, p_status text, p_message text, p_images jsonb) returns void
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
create or replace function delete_element(p_account bigint, p_element_id bigint, p_at timestamptz) returns uuid
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
