-- Claims up to p_limit due batches of the given routes. p_routes[i] is a route of the model p_models[i].
-- docs/adr/0022-fair-turns.md describes the order. If p_ready is true, only batches whose references are all fetched
-- and decoded are claimed. For the accounts in p_ready_accounts, this restriction applies even if p_ready is false. If
-- p_task is not null, only batches of that task are claimed. If p_filters[i] is 'with_order' or 'without_order', only
-- batches with or without an open order are claimed for p_routes[i]. If p_max[i] is not null, at most this number of
-- batches without an open order is claimed for p_routes[i] and each priority. A claimed batch cannot be claimed again
-- before it has been released or requeued. It is not sufficient that its lease has expired, because the clock may have
-- been changed.
drop function if exists claim_batches(text[], text[], int, uuid, int, interval, uuid, boolean, bigint[]);
create or replace function claim_batches(
    p_models text[], p_routes text[], p_limit int, p_claim uuid, p_worker int, p_lease interval, p_task uuid, p_ready boolean,
    p_ready_accounts bigint[], p_filters text[] default '{}', p_max int[] default '{}'
) returns table (
    id bigint, claim uuid, attempt smallint, task_id uuid, shot_indexes smallint[], last_error text, failing_s float8, notes text,
    route text, account_id bigint, kind text, options text, model text, prompt text, result_type text, image_count smallint,
    resolution text, ratio text, watermark boolean, created_at timestamptz, shots text, refs text, elements text
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
    taken batches[];
begin
    perform queue_postponed_batches(p_models, p_routes);
    with own as (
        -- If this call repeats an earlier call whose result was lost, these are the batches that the earlier call
        -- claimed.
        select b.id from batches b where b.claim is not null and b.claim = p_claim for update
    ), queues as materialized (
        -- a claimed_at in the future is ignored, because it was written before the clock was set back
        select served.model, served.route, priority.low, coalesce(p_filters[served.place], 'all') as filter, coalesce(p_max[served.place], p_limit + 100) as most, case when q.claimed_at <= now() then q.claimed_at end as claimed_at,
               -- Batches with low priority must wait for batches with normal priority. However, if no batch of a
               -- low-priority queue was claimed within the last minute, one batch of this queue does not wait.
               priority.low and coalesce(q.claimed_at between now() - interval '1 minute' and now(), q.model is null) as must_wait
        from unnest(p_models, p_routes) with ordinality as served (model, route, place)
        cross join (values (false), (true)) as priority (low)
        left join batch_queues q on q.model = served.model and q.route = served.route and q.low = priority.low
    ), candidates as materialized (
        -- Each queue is searched separately, so that the search does not read the batches of other queues. 100
        -- additional batches are selected, because other workers may claim some of the batches at the same time.
        select q.model, q.route, q.low, q.claimed_at, c.id, q.must_wait or q.low and c.place > 1 as must_wait, c.place
        from queues q
        cross join lateral (
            select o.id, row_number() over (order by o.turn, o.id) as place
            from ((
                select b.id, b.turn
                from batches b
                where q.filter <> 'with_order' and b.claim is null and b.turn is not null and b.run_at <= now()
                  and b.model = q.model and b.route = q.route and b.low = q.low
                  and (q.filter <> 'without_order' or b.notes = '{}' or not exists (select from jsonb_each(b.notes) n where n.value ? 'note'))
                  and (p_task is null or b.task_id = p_task)
                  and (not p_ready or not exists (
                      -- because of the offset, PostgreSQL uses the index and does not read the whole view
                      select from pictures_to_load p where p.task_id = b.task_id offset 0
                  ))
                  and (p_ready_accounts = '{}' or not exists (
                      select from tasks t join pictures_to_load p on p.task_id = t.id
                      where t.id = b.task_id and t.account_id = any (p_ready_accounts) offset 0
                  ))
                order by b.turn, b.id
                limit least(p_limit + 100, q.most)
            ) union all (
                select b.id, b.turn
                from batches b
                where q.filter = 'with_order' and b.claim is null and b.notes <> '{}' and b.turn is not null and b.run_at <= now()
                  and b.model = q.model and b.route = q.route and b.low = q.low
                  and (p_task is null or b.task_id = p_task)
                  and exists (select from jsonb_each(b.notes) n where n.value ? 'note')
                limit p_limit + 100
            )) o
        ) c
    ), waiting as (
        -- Batches are locked one by one until the limit is reached, so that only the claimed batches are locked. The
        -- queues of several routes are served in turn.
        select b.id
        from (select c.id from candidates c order by c.must_wait, c.place, c.claimed_at nulls first, c.id) o
        cross join lateral (
            select b.id from batches b
            where b.id = o.id and b.claim is null and b.run_at <= now()
            for update skip locked
        ) b
        limit p_limit
    ), due as (
        select d.id from (select o.id, 0 as place from own o union all select w.id, 1 from waiting w) d order by d.place limit p_limit
    ), claimed as (
        update batches b
        set claim = p_claim, worker = p_worker, lease_until = now() + p_lease, attempt = b.attempt + 1
        from due
        where b.id = due.id
        returning b as batch
    ), served_queues as (
        select q.model, q.route, q.low, max((c.batch).turn) as turn, max((c.batch).turn + (c.batch).turn_cost) as turn_end,
               -- the lowest turn of the batches that still wait
               (select b.turn from batches b
                where b.claim is null and b.turn is not null and b.run_at <= now()
                  and b.model = q.model and b.route = q.route and b.low = q.low and b.id not in (select d.id from due d)
                order by b.turn, b.id
                limit 1) as lowest
        from queues q
        left join claimed c on (c.batch).model = q.model and (c.batch).route = q.route and (c.batch).low = q.low
        group by q.model, q.route, q.low
    ), changed_queues as (
        -- if another worker is changing the row, this worker skips it, so that workers never wait for each other
        select q.model, q.route, q.low, s.turn, s.turn_end, s.lowest
        from served_queues s
        join batch_queues q on q.model = s.model and q.route = s.route and q.low = s.low
        where s.turn is not null or s.lowest is null and q.virtual_time < q.last_end
        for update of q skip locked
    ), advanced as (
        update batch_queues q
        -- The virtual time does not exceed the turns of batches that this claim has skipped. If no batch waits, the
        -- virtual time becomes the highest sum of the turn and the cost of a claimed batch, so that all accounts are
        -- equal again.
        set virtual_time = greatest(
                q.virtual_time, least(c.turn, c.lowest), case when c.lowest is null then greatest(q.last_end, c.turn_end) end
            ),
            last_end = greatest(q.last_end, c.turn_end),
            claimed_at = case when c.turn is null then q.claimed_at else now() end
        from changed_queues c
        where q.model = c.model and q.route = c.route and q.low = c.low
    )
    select array(select c.batch from claimed c) into taken;
    return query
    select c.id, c.claim, c.attempt, c.task_id, c.shot_indexes, c.last_error, coalesce(extract(epoch from now() - c.failing_since), 0)::float8 as failing_s, c.notes::text as notes, c.route, t.account_id, t.kind, t.options::text as options, t.model, t.prompt,
           t.result_type, t.image_count, t.resolution, t.ratio, t.watermark, t.created_at,
           coalesce((select json_agg(json_build_object('index', s.index, 'prompt', s.prompt, 'framing', s.framing,
                                                       'seed', s.seed) order by s.index)
                     from shots s
                     where s.task_id = c.task_id and s.index = any (c.shot_indexes) and s.painted_at is null),
                    '[]'::json)::text as shots,
           coalesce((select json_agg(json_build_object('url', coalesce(r.url, ''), 'key', coalesce(r.key, ''),
                                                       'width', coalesce(r.width, 0), 'height', coalesce(r.height, 0),
                                                       'field', coalesce(r.field, format('image_list[%s].image', r.index)),
                                                       'role', r.role)
                                     order by r.index)
                     from task_references r where r.task_id = c.task_id and r.element is null), '[]'::json)::text as refs,
           coalesce((select json_agg(json_build_object(
                         'id', t.elements[e.index + 1], 'name', e.name, 'description', e.description,
                         'images', (select json_agg(json_build_object('key', r.key, 'width', r.width, 'height', r.height)
                                                    order by r.index)
                                    from task_references r where r.task_id = e.task_id and r.element = e.index)
                     ) order by e.index)
                     from task_elements e where e.task_id = c.task_id), '[]'::json)::text as elements
    from unnest(taken) c
    join tasks t on t.id = c.task_id
    order by c.id;
end $$;
