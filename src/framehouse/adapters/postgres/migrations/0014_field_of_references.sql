-- The name of the request field that contained a reference. Error messages of workers contain this name.

alter table task_references add column field text;
comment on column task_references.field is 'such as image_list[0].image; null for images of elements, and for tasks that an older release accepted';
