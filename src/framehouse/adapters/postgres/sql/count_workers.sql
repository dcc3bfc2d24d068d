-- Workers that live: each holds the advisory lock of its number for as long as its connection does.
select count(*) from pg_locks l
where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = 1718774120 and l.granted;
