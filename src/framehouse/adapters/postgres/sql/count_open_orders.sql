-- Counts the batches that have an open order, by model and by the route of the order.
select b.model, n.route, count(*) as batches
from batches b, jsonb_each(b.notes) as n (route, state)
where b.notes <> '{}' and n.state ? 'note'
group by b.model, n.route
order by b.model, n.route;
