-- $1 batch ids, $2 their claims, $3 their progress, $4 lease. Locked in the order of their ids, as ending a task does.
with held as (
    select b.id, h.progress
    from batches b
    join unnest($1::bigint[], $2::uuid[], $3::real[]) as h (id, claim, progress) on b.id = h.id and b.claim = h.claim
    order by b.id
    for update of b
)
update batches b
set lease_until = now() + $4, progress = held.progress
from held
where b.id = held.id
returning b.id;
