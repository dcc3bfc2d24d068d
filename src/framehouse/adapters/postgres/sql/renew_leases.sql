-- Arrays in step. Batches are locked in the order of their ids, as end_task does.
with held as (
    select b.id, h.progress
    from batches b
    join unnest(:batch_ids::bigint[], :claims::uuid[], :progress::real[]) as h (id, claim, progress) on b.id = h.id and b.claim = h.claim
    order by b.id
    for update of b
)
update batches b
set lease_until = now() + :lease, progress = held.progress
from held
where b.id = held.id
returning b.id;
