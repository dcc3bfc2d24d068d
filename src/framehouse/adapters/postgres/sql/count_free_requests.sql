-- Returns the number of requests that each route may still receive within this minute. Arrays contain one value per route.
select r.model, r.route,
       greatest(0, r.max_requests - (
           select count(*) from route_requests q
           where q.model = r.model and q.route = r.route and q.requested_at > now() - interval '1 minute'
       ))::int as free
from unnest(:models::text[], :routes::text[], :limits::int[]) as r (model, route, max_requests);
