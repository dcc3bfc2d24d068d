-- Returns the health of each route, combined from all reports that are younger than :age.
select model, route, what as subject,
       count(*) filter (where fit) as healthy,
       count(*) filter (where not fit) as unhealthy,
       coalesce((array_agg(told order by seen_at desc) filter (where not fit))[1],
                (array_agg(told order by seen_at desc))[1]) as reason
from route_checks
where seen_at > now() - :age::interval
group by model, route, what
order by model, route, what;
