-- Returns the elements of an account that are not deleted, newest first.
select e.*
from element_answers e
where e.account_id = :account_id and e.deleted_at is null
order by e.created_at desc, e.id desc
limit :limit offset :offset;
