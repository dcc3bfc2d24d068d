-- Finds an element of an account by task id, external id or element id. Each of these ids may be null. A task id takes
-- precedence over an external id.
select e.*
from element_answers e
where e.account_id = :account_id and (e.id = :task_id or e.external_task_id = :external_id or e.element_id = :element_id and e.deleted_at is null)
order by e.id = :task_id desc nulls last, e.external_task_id = :external_id desc nulls last
limit 1;
