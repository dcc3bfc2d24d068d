-- Returns the tasks of an account, newest first. The page is selected before the join, so that task_answers is computed
-- only for the rows of the page.
select t.*
from (
    select id from tasks where account_id = :account_id order by created_at desc, id desc limit :limit offset :offset
) page
join task_answers t using (id)
order by t.created_at desc, t.id desc;
