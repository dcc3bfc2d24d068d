-- Returns the health of each route, combined from the reports of all live workers. While a worker is connected, it holds
-- an advisory lock with the number of the worker. Reports that are older than :age are ignored.
with live as materialized (
    select l.objid from pg_locks l
    where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
      and l.classid = :lock_class::bigint::oid and l.granted
)
select model, route, what as subject,
       count(*) filter (where fit) as healthy,
       count(*) filter (where not fit) as unhealthy,
       coalesce((array_agg(told order by seen_at desc) filter (where not fit))[1],
                (array_agg(told order by seen_at desc))[1]) as reason
from route_checks
where seen_at > now() - :age::interval and worker::oid in (select objid from live)
group by model, route, what
order by model, route, what;
