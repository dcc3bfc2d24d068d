-- Returns claimed batches whose lease was not renewed within :unrenewed_for. :lease is the duration of a new lease. A
-- batch is also returned if its lease ends more than :unrenewed_for later than a new lease would end. In this case, the
-- clock was set back after the lease was written. While a worker is connected, it holds an advisory lock with the
-- number of the worker. `alive` is true if this lock exists.
select b.id, b.claim, b.lease_until, pg_postmaster_start_time() as server_started_at,
       exists (
           select from pg_locks l
           where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
             and l.classid = :lock_class::bigint::oid and l.objid = b.worker::oid and l.granted
       ) as alive
from batches b
where b.claim is not null and (b.lease_until < now() + :lease::interval - :unrenewed_for::interval or b.lease_until > now() + :lease::interval + :unrenewed_for::interval);
