-- Returns tasks of commands that have died: the advisory lock of the owner is free. Tasks of the last two seconds are
-- excluded, because their owners may not have connected yet.
select t.id
from tasks t
where t.owner is not null and t.status in ('submitted', 'processing') and t.created_at < now() - interval '2 seconds'
  and not exists (
      select 1 from pg_locks l
      where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
        and l.classid = :lock_class::bigint::oid and l.objid = t.owner::oid and l.granted
  );
