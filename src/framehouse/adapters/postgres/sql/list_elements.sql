-- $1 account, $2 limit, $3 offset; newest first
select e.*
from element_answers e
where e.account_id = $1 and e.deleted_at is null
order by e.created_at desc, e.id desc
limit $2 offset $3;
