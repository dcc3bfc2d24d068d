-- $1 batch ids, $2 their claims, $3 their progress, $4 lease
update batches b
set lease_until = now() + $4, progress = h.progress
from unnest($1::bigint[], $2::uuid[], $3::real[]) as h (id, claim, progress)
where b.id = h.id and b.claim = h.claim
returning b.id;
