-- Renews the leases of batches and saves their progress. Each array contains one value per batch. Batches are locked in
-- the order of their ids, as in end_task, to prevent deadlocks.
with renewed as (
    select b.id, h.progress
    from batches b
    join unnest(:batch_ids::bigint[], :claims::uuid[], :progress::real[]) as h (id, claim, progress) on b.id = h.id and b.claim = h.claim
    order by b.id
    for update of b
)
update batches b
set lease_until = now() + :lease, progress = renewed.progress
from renewed
where b.id = renewed.id
returning b.id;
