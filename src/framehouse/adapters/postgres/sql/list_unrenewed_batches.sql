-- Claimed batches whose lease was not renewed within :silence. One that ends later than a new lease was written by a clock that
-- has gone back since. A worker holds the advisory lock of its number for as long as its connection lives.
select b.id, b.claim, b.lease_until, pg_postmaster_start_time() as server_started_at,
       exists (
           select from pg_locks l
           where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
             and l.classid = :lock_class::bigint::oid and l.objid = b.worker::oid and l.granted
       ) as alive
from batches b
where b.claim is not null and (b.lease_until < now() + :lease::interval - :silence::interval or b.lease_until > now() + :lease::interval + :silence::interval);
