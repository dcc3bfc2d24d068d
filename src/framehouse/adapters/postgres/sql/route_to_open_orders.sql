-- Assigns each waiting batch that has an open order to the route of that order. The route of such a batch may be wrong
-- if a worker of an older release, which does not set routes, has released the batch.
update batches b set route = open_order.route, turn = null
from (
    select b.id, min(n.key) as route
    from batches b, jsonb_each(b.notes) n
    where b.claim is null and b.notes <> '{}' and n.value ? 'note'
    group by b.id, b.route
    having b.route <> all (array_agg(n.key))
    order by b.id
) open_order
where b.id = open_order.id and b.claim is null;
