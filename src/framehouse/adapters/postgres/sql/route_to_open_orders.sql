-- A waiting batch that has an open order waits for the route of that order. Workers older than routes release it without one.
update batches b set route = begun.route
from (
    select b.id, min(n.key) as route
    from batches b, jsonb_each(b.notes) n
    where b.claim is null and b.notes <> '{}' and n.value ? 'note'
    group by b.id, b.route
    having b.route <> all (array_agg(n.key))
    order by b.id
) begun
where b.id = begun.id and b.claim is null;
