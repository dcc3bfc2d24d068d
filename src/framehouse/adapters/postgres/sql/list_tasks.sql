-- Returns the tasks of an account whose kind is in :kinds, newest first. Each kind is searched separately, so that the
-- statement always uses the index. The rows of the page are selected before the join, so that task_answers is computed
-- only for these rows.
select t.*
from (
    select newest.id
    from unnest(:kinds::text[]) as searched (kind)
    cross join lateral (
        select id, created_at from tasks where account_id = :account_id and kind = searched.kind
        order by created_at desc, id desc limit :limit::bigint + :offset::bigint
    ) newest
    order by newest.created_at desc, newest.id desc limit :limit offset :offset
) page
join task_answers t using (id)
order by t.created_at desc, t.id desc;
