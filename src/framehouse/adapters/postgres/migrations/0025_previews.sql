-- Previews of generated images. An image that was generated before this migration has no preview.

alter table shots add column thumb_hash text;
comment on column shots.thumb_hash is 'the ThumbHash of the image in base64; null: the image has no preview';
