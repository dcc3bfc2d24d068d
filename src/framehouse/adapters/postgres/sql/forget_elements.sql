-- $1 how long after they failed or were deleted, $2 how many
with old as (
    select id, account_id, external_task_id from elements
    where (status = 'failed' or deleted_at is not null) and updated_at < now() - $1::interval
      and (deleted_at is null or deleted_at < now() - $1::interval)
    order by updated_at
    limit $2
    for update skip locked
), taken as (
    insert into taken_ids (account_id, kind, external_task_id)
    select account_id, 'element', external_task_id from old where external_task_id is not null
    on conflict do nothing
), gone as (
    delete from elements using old where elements.id = old.id
)
select count(*) from old;
