-- Tasks of several kinds: each endpoint of the Kling API creates one kind of task.

alter table tasks
    add column kind text not null default 'omni-image',
    add column options jsonb not null default '{}';
comment on column tasks.options is 'the parts of a request that only some kinds have: RequestOptions in domain/task.py';
alter table task_references add column role text not null default '';
comment on column task_references.role is 'the purpose of the image: ReferenceRole in domain/reference.py';
alter type accept_row add attribute kind text, add attribute options jsonb;

drop view task_answers;
create view task_answers as
select t.*,
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
        from shots s where s.task_id = t.id and s.painted_at is not null)::text as pictures
from tasks t;
comment on view task_answers is 'A task with its images and its progress, as clients see it.';
