-- Assigns a waiting batch that has an open order to the route of that order. A worker of a release without routes can
-- release a batch without setting its route.
update batches b set route = open_order.route
from (
    select b.id, min(n.key) as route
    from batches b, jsonb_each(b.notes) n
    where b.claim is null and b.notes <> '{}' and n.value ? 'note'
    group by b.id, b.route
    having b.route <> all (array_agg(n.key))
    order by b.id
) open_order
where b.id = open_order.id and b.claim is null;
