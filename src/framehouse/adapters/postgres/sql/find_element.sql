-- $1 account, $2 task id or null, $3 external id, $4 element id. A task's own id goes before somebody's external one.
select e.*
from element_answers e
where e.account_id = $1 and (e.id = $2 or e.external_task_id = $3 or e.element_id = $4 and e.deleted_at is null)
order by e.id = $2 desc nulls last, e.external_task_id = $3 desc nulls last
limit 1;
