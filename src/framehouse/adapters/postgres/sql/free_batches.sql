-- $1 batches, $2 their claims, $3 their leases: all as they were seen, so that one renewed since is left alone.
with lost as (
    select b.id
    from batches b
    join unnest($1::bigint[], $2::uuid[], $3::timestamptz[]) as q (id, claim, lease_until)
      on b.id = q.id and b.claim = q.claim and b.lease_until = q.lease_until
    order by b.id
    for update of b skip locked
)
update batches b
set claim = null, worker = null, lease_until = null, progress = 0, run_at = now(), last_error = 'the worker died or hung'
from lost
where b.id = lost.id
returning b.id;
