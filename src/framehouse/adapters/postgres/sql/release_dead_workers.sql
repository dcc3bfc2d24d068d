-- $1 grace, $2 lease. A worker holds the advisory lock of its number for as long as its connection lives.
-- After a restart of Postgres all those connections are gone while their workers live: for twice the grace, which is
-- more than they need to connect anew, only leases count.
with lost as (
    select b.id
    from batches b
    where pg_postmaster_start_time() < now() - 2 * $1::interval and b.claim is not null and b.lease_until < now() + $2::interval - $1::interval
      and not exists (
          select 1 from pg_locks l
          where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
            and l.classid = 1718774120 and l.objid = b.worker::oid and l.granted
      )
    for update skip locked
)
update batches b
set claim = null, worker = null, lease_until = null, progress = 0, run_at = now(), last_error = 'the worker died'
from lost
where b.id = lost.id
returning b.id;
