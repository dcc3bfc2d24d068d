-- Claims up to :limit due batches of the given routes, oldest first. :routes[i] is a route of the model :models[i]. If
-- :ready is true, only batches whose references are all fetched and decoded are claimed. If :task_id is not null, only
-- batches of that task are claimed. A claimed batch must be requeued before another claim. An expired lease is not
-- sufficient, because the clock may have been changed.
with own as (
    -- the batches that an earlier run of this statement claimed, if the statement runs again because its result was
    -- lost
    select b.id, b.run_at from batches b where b.claim is not null and b.claim = :claim for update
), oldest as (
    -- Each route is searched separately, so that the batches of other routes are skipped. 100 additional batches are
    -- selected, because other workers may claim some of the batches at the same time.
    select o.*
    from unnest(:models::text[], :routes::text[]) as served (model, route)
    cross join lateral (
        select b.id, b.run_at
        from batches b
        where b.claim is null and b.run_at <= now() and b.model = served.model and b.route = served.route
          and (:task_id::uuid is null or b.task_id = :task_id)
          and (not :ready or not exists (select from pictures_to_load p where p.task_id = b.task_id))
        order by b.run_at, b.id
        limit :limit + 100
    ) o
), waiting as (
    -- batches are locked one by one until the limit is reached, so that only the claimed batches are locked
    select b.id, b.run_at
    from (select id from oldest order by run_at, id) o
    cross join lateral (
        select b.id, b.run_at from batches b where b.id = o.id and b.claim is null and b.run_at <= now() for update skip locked
    ) b
    limit :limit
), due as (
    select id from (select * from own union all select * from waiting) all_due
    order by run_at, id
    limit :limit
), claimed as (
    update batches b
    set claim = :claim, worker = :worker, lease_until = now() + :lease, attempt = b.attempt + 1
    from due
    where b.id = due.id
    returning b.*
)
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
from claimed c
join tasks t on t.id = c.task_id
order by c.id;
