-- Outside a transaction: a full table is indexed while it is written to.

drop index concurrently if exists tasks_expired;
create index concurrently tasks_expired on tasks (expired_at) where expired_at is not null;
drop index concurrently if exists elements_gone;
create index concurrently elements_gone on elements (updated_at) where status = 'failed' or deleted_at is not null;
