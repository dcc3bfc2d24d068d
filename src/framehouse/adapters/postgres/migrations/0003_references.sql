-- Stored references: one file per content, kept while somebody needs it.
--
-- Who stores says so first: the row is made or its time is touched, then the file is written where it is not there, then
-- whoever needs it (a task) is recorded. Until then the grace of forget_references protects it. A row that is forgotten
-- takes its key along: the same content gets another key later, so the removal of the old file, whenever it happens,
-- cannot meet the new one.

create table stored_references (
    sha256     text primary key,
    key        text not null unique,
    used_at    timestamptz not null default now(),
    checked_at timestamptz,
    width      integer,
    height     integer
);
comment on table stored_references is 'Content -> file. The row may be there before the file is, and where writing it failed.';
comment on column stored_references.used_at is 'when it was last stored, or last found to be needed';
comment on column stored_references.checked_at is 'when it was decoded to the end, with its true upright size; null: not yet';
create index stored_references_by_age on stored_references (used_at);

create table forgotten_files (
    key          text primary key,
    forgotten_at timestamptz not null default now()
);
comment on table forgotten_files is 'Files that nothing names any more, still to be removed from the storage.';

create index task_references_by_key on task_references (key) where key is not null;

create view pictures_to_load as
select r.task_id, r.index
from task_references r
left join stored_references s on s.key = r.key
where r.key is null or s.checked_at is null;
comment on view pictures_to_load is 'Those of tasks that are still to be fetched, or to be decoded for the first time: both may take long.';
