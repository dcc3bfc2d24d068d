-- Batches that have something under way at a route, which alone may go on with them.
select b.model, n.route, count(*) as batches
from batches b, jsonb_each(b.notes) as n (route, kept)
where b.notes <> '{}' and n.kept ? 'note'
group by b.model, n.route
order by b.model, n.route;
