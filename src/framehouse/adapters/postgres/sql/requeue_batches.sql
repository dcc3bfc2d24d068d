-- Requeues orphaned batches. Each array contains one value per batch. A batch is skipped if its claim or its lease has
-- changed since the observation.
with orphaned as (
    select b.id
    from batches b
    join unnest(:batch_ids::bigint[], :claims::uuid[], :leases::timestamptz[]) as q (id, claim, lease_until)
      on b.id = q.id and b.claim = q.claim and b.lease_until = q.lease_until
    order by b.id
    for update of b skip locked
)
update batches b
set claim = null, worker = null, lease_until = null, progress = 0, run_at = now(), last_error = 'the worker died or hung'
from orphaned
where b.id = orphaned.id
returning b.id;
