-- Previews of generated images. An image that was generated before this migration has no preview.

alter table shots add column thumb_hash text;
comment on column shots.thumb_hash is 'the ThumbHash of the image in base64; null: the image has no preview';

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
                                          'media_type', s.media_type, 'width', s.width, 'height', s.height,
                                          'thumb_hash', coalesce(s.thumb_hash, ''))
                        order by s.index)
        from shots s where s.task_id = t.id and s.painted_at is not null)::text as pictures
from tasks t;
comment on view task_answers is 'A task with its images and its progress, as clients see it.';
