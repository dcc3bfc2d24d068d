-- A failed task states whether its request was declined. The responses of the OpenAI dialect depend on this.

alter table tasks add column declined boolean not null default false;
comment on column tasks.declined is 'the task failed because of its request: an engine declined it, or a reference could not be used';

-- a view can be replaced while it is in use only if new columns are added at its end
create or replace view task_answers as
select t.id, t.account_id, t.external_task_id, t.status, t.status_message, t.model, t.prompt, t.elements, t.result_type,
       t.image_count, t.images_done, t.resolution, t.ratio, t.watermark, t.callback_url, t.owner, t.units_reserved,
       t.units_charged, t.created_at, t.updated_at, t.ended_at, t.expires_at, t.expired_at, t.kind, t.options,
       -- the finished images, and for each claimed batch, the progress beyond its finished images
       least(1, (t.images_done + coalesce((
           select sum(greatest(0, b.progress * cardinality(b.shot_indexes) - (
               select count(*) from shots s
               where s.task_id = b.task_id and s.index = any (b.shot_indexes) and s.painted_at is not null
           ))) from batches b where b.task_id = t.id
       ), 0)) / t.image_count)::float8 as progress,
       (select json_agg(json_build_object('index', s.index, 'key', s.key, 'watermark_key', coalesce(s.watermark_key, ''),
                                          'media_type', s.media_type, 'width', s.width, 'height', s.height)
                        order by s.index)
        from shots s where s.task_id = t.id and s.painted_at is not null)::text as pictures,
       t.declined
from tasks t;
