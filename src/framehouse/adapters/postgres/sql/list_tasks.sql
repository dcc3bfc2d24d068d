-- $1 account, $2 limit, $3 offset; newest first. The page is cut before anything is counted for it.
select t.*
from (
    select id from tasks where account_id = $1 order by created_at desc, id desc limit $2 offset $3
) page
join task_answers t using (id)
order by t.created_at desc, t.id desc;
