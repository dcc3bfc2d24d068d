-- Counts the live workers. Each worker holds the advisory lock of its number as long as its connection lives.
select count(*) from pg_locks l
where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = :lock_class::bigint::oid and l.granted;
