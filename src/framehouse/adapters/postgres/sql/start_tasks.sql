-- $1 task ids. Apart from the claim, so that tasks and batches are never locked in the other order.
update tasks t
set status = 'processing', updated_at = now()
from (select id from tasks where id = any ($1::uuid[]) and status = 'submitted' order by id for update) due
where t.id = due.id;
