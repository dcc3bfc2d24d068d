-- Accepts or refuses each of the coalesced tasks. A refused task does not affect the other tasks. If a task was accepted
-- before and the result was lost, a repeated call returns 'accepted' again. Tasks are checked one by one, but all
-- accepted tasks are inserted together. Inserting them one by one would take three times as long. The function uses
-- generic plans, which are good for any number of tasks. Planning each call would take longer than executing the plan.
create or replace function accept_tasks(p_rows jsonb)
returns table (ordinal int, outcome text, task_id uuid, created_at timestamptz, detail text)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    rows     accept_row[] := array(select r from jsonb_populate_recordset(null::accept_row, p_rows) r);
    r        record;
    account  bigint;
    images   bigint;  -- the account's images in flight, including the images of the tasks accepted so far
    units    bigint;  -- the account's used and reserved units, including the units of the tasks accepted so far
    externals text[]; -- the external ids of the account's tasks that were accepted so far
    keys     text[];  -- the idempotency keys of the account's tasks that were accepted so far
    keyed    int[];   -- the ordinals of the rows with these idempotency keys
    known    record;
    gone     bigint;
    keys_sent boolean := false;
    accepted int[] := '{}';
    weights  float8[] := '{}';  -- the weight of the account, for each accepted task
    idle_accounts boolean[] := '{}'; -- whether the account had no images in flight before this call, for each accepted task
begin
    perform from accounts a where a.id in (select o.account_id from unnest(rows) o) order by a.id for update;
    for r in
        select o.*, a.disabled, a.concurrency, a.images_in_flight, a.units_limit, a.weight,
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
                  and k.created_at > now() - idempotency_window();
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
            -- the lock ensures that an element is deleted either before this check or after its data is copied to the
            -- task
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
            detail := format('%s of %s images in flight, %s more requested', images, r.concurrency, r.image_count);
            return next; continue;
        end if;
        if units + r.units > r.units_limit then
            outcome := 'over_units';
            detail := format('%s units left, %s needed', greatest(r.units_limit - units, 0), r.units);
            return next; continue;
        end if;
        images := images + r.image_count; units := units + r.units;
        accepted := accepted || r.ordinal; weights := weights || r.weight; idle_accounts := idle_accounts || (r.images_in_flight = 0);
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
        insert into tasks (id, account_id, key_id, kind, options, external_task_id, model, prompt, elements, result_type, image_count,
                           resolution, ratio, watermark, callback_url, owner, units_reserved, low)
        select o.task_id, o.account_id, o.key_id, coalesce(o.kind, 'omni-image'), coalesce(o.options, '{}'), o.external_task_id, o.model, o.prompt, o.elements, o.result_type, o.image_count,
               o.resolution, o.ratio, o.watermark, o.callback_url, o.owner, o.units, coalesce(o.low, false)
        from o
    ), s as (
        insert into shots (task_id, index, prompt, framing, seed)
        select o.task_id, s.index, s.prompt, s.framing, s.seed
        from o, jsonb_to_recordset(o.shots) as s (index smallint, prompt text, framing text, seed bigint)
    ), new_batches as materialized (
        select o.ordinal, b.place, o.task_id, o.account_id, o.model, coalesce(o.low, false) as low, n.idle, c.cost,
               array(select jsonb_array_elements_text(b.value)::smallint) as shot_indexes,
               sum(c.cost) over (queue order by o.ordinal, b.place) - c.cost as earlier, sum(c.cost) over queue as total
        from o
        join unnest(accepted, weights, idle_accounts) as n (ordinal, weight, idle) on n.ordinal = o.ordinal
        cross join jsonb_array_elements(o.batches) with ordinality as b (value, place)
        cross join lateral (select jsonb_array_length(b.value) * coalesce(o.shot_cost, 1) / n.weight as cost) c
        window queue as (partition by o.account_id, o.model, coalesce(o.low, false))
    ), new_queues as (
        insert into batch_queues (model, route, low)
        select n.model, '', n.low from (select distinct m.model, m.low from new_batches m) n
        where not exists (select from batch_queues q where q.model = n.model and q.route = '' and q.low = n.low)
        order by n.model, n.low
        on conflict do nothing
    ), first_turns as materialized (
        -- No other transaction changes these rows of account_turns meanwhile, because this transaction has locked the
        -- accounts. If the account has no other images in flight, its refund is used, so its deleted batches no longer
        -- count. The turn of a new account is just before the turns of all accounts that already wait. The
        -- subqueries have limits, so that PostgreSQL uses the indexes and does not read the entire tables.
        select n.account_id, n.model, n.low, n.total,
               greatest(s.next_turn - case when n.idle then s.refund else 0 end, coalesce(q.virtual_time, 0) - 1) as turn,
               case when n.idle then 0 else greatest(s.refund - greatest(coalesce(q.virtual_time, 0) - 1 - s.next_turn, 0), 0) end as refund
        from (select distinct m.account_id, m.model, m.low, m.idle, m.total from new_batches m) n
        left join lateral (
            select q.virtual_time from batch_queues q where q.model = n.model and q.route = '' and q.low = n.low limit 1
        ) q on true
        left join lateral (
            select s.next_turn, s.refund from account_turns s
            where s.account_id = n.account_id and s.model = n.model and s.route = '' and s.low = n.low and not s.postponed
            limit 1
        ) s on true
    ), next_turns as (
        insert into account_turns (account_id, model, route, low, postponed, next_turn, refund)
        select f.account_id, f.model, '', f.low, false, f.turn + f.total, f.refund from first_turns f
        on conflict (account_id, model, route, low, postponed) do update
        set next_turn = excluded.next_turn, refund = excluded.refund
    ), b as (
        insert into batches (task_id, model, shot_indexes, low, turn, turn_cost)
        select n.task_id, n.model, n.shot_indexes, n.low, f.turn + n.earlier, n.cost
        from new_batches n
        join first_turns f on f.account_id = n.account_id and f.model = n.model and f.low = n.low
        order by n.ordinal, n.place
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
        insert into task_references (task_id, index, element, field, role, url, key, width, height)
        select o.task_id, f.index, f.element, f.field, coalesce(f.role, ''), f.url, f.key, f.width, f.height
        from unnest(rows) o, jsonb_to_recordset(o.task_references)
             as f (index smallint, element smallint, field text, role text, url text, key text, width integer, height integer)
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
