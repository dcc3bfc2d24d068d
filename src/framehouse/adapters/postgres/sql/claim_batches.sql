-- Claims up to :limit due batches of the given routes with the function claim_batches, and returns the data that is
-- needed to generate their images.
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
from claim_batches(:models::text[], :routes::text[], :limit::int, :claim::uuid, :worker::int, :lease::interval, :task_id::uuid, :ready::boolean, :ready_accounts::bigint[]) c
join tasks t on t.id = c.task_id
order by c.id;
