-- Returns the ids of unfinished tasks whose commands have died. A command has died if no session holds its advisory
-- lock. Tasks that were created in the last two seconds are excluded, because their commands may not have taken the
-- lock yet.
select t.id
from tasks t
where t.owner is not null and t.status in ('submitted', 'processing') and t.created_at < now() - interval '2 seconds'
  and not exists (
      select 1 from pg_locks l
      where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
        and l.classid = :lock_class::bigint::oid and l.objid = t.owner::oid and l.granted
  );
