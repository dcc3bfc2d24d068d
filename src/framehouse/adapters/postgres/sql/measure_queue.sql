-- Counts batches by model and route. An empty route means the first route of the model. oldest_s is the number of
-- seconds since the oldest due batch became due, or 0 if no batch is due. If :task_id is not null, only batches of that
-- task are counted.
select model, route,
       count(*) filter (where claim is null or lease_until < now()) as waiting,
       count(*) filter (where claim is not null and lease_until >= now()) as running,
       coalesce(extract(epoch from now() - min(run_at) filter (where claim is null and run_at <= now())), 0)::float8 as oldest_s
from batches
where :task_id::uuid is null or task_id = :task_id
group by model, route
order by model, route;
