-- Returns one row for each query, in the order of the queries. The function find_tasks describes the parameters.
select f.refused, (f.task).*
from find_tasks(:account_ids::bigint[], :task_ids::uuid[], :external_ids::text[], :key_ids::bigint[], :kinds::text[]) f
order by f.place;
