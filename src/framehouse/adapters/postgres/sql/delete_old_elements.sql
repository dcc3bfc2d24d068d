-- Deletes the rows of up to :limit elements that failed or were deleted more than :age ago. The external ids of the
-- elements cannot be used again.
with old as (
    select id, account_id, external_task_id from elements
    where (status = 'failed' or deleted_at is not null) and updated_at < now() - :age::interval
      and (deleted_at is null or deleted_at < now() - :age::interval)
    order by updated_at
    limit :limit
    for update skip locked
), used_ids as (
    insert into taken_ids (account_id, kind, external_task_id)
    select account_id, 'element', external_task_id from old where external_task_id is not null
    on conflict do nothing
), deleted as (
    delete from elements using old where elements.id = old.id
)
select count(*) from old;
