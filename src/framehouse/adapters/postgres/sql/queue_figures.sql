-- What waits, what runs, and the age of the oldest that is due.
select count(*) filter (where claim is null or lease_until < now()) as waiting,
       count(*) filter (where claim is not null and lease_until >= now()) as running,
       coalesce(extract(epoch from now() - min(run_at) filter (where claim is null and run_at <= now())), 0) as oldest_s
from batches;
