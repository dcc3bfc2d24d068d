-- Tasks whose images were removed longer than :age ago, with their callbacks, shots, elements and references. Their external
-- ids stay taken.
with old as (
    select id, account_id, external_task_id from tasks
    where expired_at < now() - :age::interval
    order by expired_at
    limit :limit
    for update skip locked
), taken as (
    insert into taken_ids (account_id, kind, external_task_id)
    select account_id, 'task', external_task_id from old where external_task_id is not null
    on conflict do nothing
), gone as (
    delete from tasks using old where tasks.id = old.id
)
select count(*) from old;
