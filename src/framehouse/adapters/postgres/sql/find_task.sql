-- $1 account, $2 task id or null, $3 external id. A task's own id goes before somebody's external one.
select t.*
from task_answers t
where t.account_id = $1 and (t.id = $2 or t.external_task_id = $3)
order by t.id = $2 desc
limit 1;
