-- $1 lease, $2 how long ago a lease is renewed at the latest. Those whose end is further off than a lease may be of a clock
-- that has gone back since. A worker holds the advisory lock of its number for as long as its connection lives.
select b.id, b.claim, b.lease_until, pg_postmaster_start_time() as server_started_at,
       exists (
           select from pg_locks l
           where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
             and l.classid = 1718774120 and l.objid = b.worker::oid and l.granted
       ) as alive
from batches b
where b.claim is not null and (b.lease_until < now() + $1::interval - $2::interval or b.lease_until > now() + $1::interval + $2::interval);
