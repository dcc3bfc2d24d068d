-- Returns one row for each query, in order: see the function find_tasks.
select f.refused, (f.task).*
from find_tasks(:account_ids::bigint[], :task_ids::uuid[], :external_ids::text[], :key_ids::bigint[], :kinds::text[]) f
order by f.place;
