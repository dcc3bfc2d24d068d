-- Counts the live workers. While a worker is connected, it holds an advisory lock with the number of the worker.
select count(*) from pg_locks l
where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = :lock_class::bigint::oid and l.granted;
