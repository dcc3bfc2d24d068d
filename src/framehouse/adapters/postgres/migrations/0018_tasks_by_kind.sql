-- Outside a transaction: a full table is indexed while it is written to. Lists contain the tasks of one endpoint.

drop index concurrently if exists tasks_by_kind;
create index concurrently tasks_by_kind on tasks (account_id, kind, created_at desc, id desc);
drop index concurrently if exists tasks_by_account;
