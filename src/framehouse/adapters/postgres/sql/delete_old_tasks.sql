-- Deletes up to :limit tasks whose images were deleted more than :age ago. Also deletes the callbacks, shots,
-- references and copied elements of these tasks. The external ids of the tasks cannot be used again.
with old as (
    select id, account_id, external_task_id from tasks
    where expired_at < now() - :age::interval
    order by expired_at
    limit :limit
    for update skip locked
), used_ids as (
    insert into taken_ids (account_id, kind, external_task_id)
    select account_id, 'task', external_task_id from old where external_task_id is not null
    on conflict do nothing
), deleted as (
    delete from tasks using old where tasks.id = old.id
)
select count(*) from old;
