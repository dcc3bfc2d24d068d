-- Returns the costs of all images by model, route and currency, from the day :since to the day :until. If :account_id is
-- not null, only the images of this account are counted.
select c.model, c.route, c.currency, sum(c.images)::bigint as images, sum(c.amount) as amount
from route_costs c
where (:account_id::bigint is null or c.account_id = :account_id)
  and c.day between :since and :until
group by c.model, c.route, c.currency
order by c.model, c.route, c.currency;
