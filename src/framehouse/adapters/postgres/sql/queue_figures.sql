-- $1 only this task, or null. By model and the route that is waited for (empty: the first): what waits, what runs, and the age
-- of the oldest that is due.
select model, route,
       count(*) filter (where claim is null or lease_until < now()) as waiting,
       count(*) filter (where claim is not null and lease_until >= now()) as running,
       coalesce(extract(epoch from now() - min(run_at) filter (where claim is null and run_at <= now())), 0)::float8 as oldest_s
from batches
where $1::uuid is null or task_id = $1
group by model, route
order by model, route;
