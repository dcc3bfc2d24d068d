-- Batches that have an open order, by the route of the order.
select b.model, n.route, count(*) as batches
from batches b, jsonb_each(b.notes) as n (route, kept)
where b.notes <> '{}' and n.kept ? 'note'
group by b.model, n.route
order by b.model, n.route;
