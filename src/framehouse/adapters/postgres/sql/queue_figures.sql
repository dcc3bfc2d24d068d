-- By model: what waits and what runs, of how many tasks, and the age of the oldest that is due.
select model,
       sum(waiting)::bigint as waiting, sum(running)::bigint as running, count(*) as tasks,
       coalesce(extract(epoch from now() - min(oldest)), 0)::float8 as oldest_s
from (
    select model, task_id,
           count(*) filter (where claim is null or lease_until < now()) as waiting,
           count(*) filter (where claim is not null and lease_until >= now()) as running,
           min(run_at) filter (where claim is null and run_at <= now()) as oldest
    from batches
    group by model, task_id
) by_task
group by model
order by model;
