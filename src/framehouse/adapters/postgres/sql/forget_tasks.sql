-- $1 how long after their pictures' end, $2 how many. Callbacks, shots and what a task took along go with it.
with old as (
    select id, account_id, external_task_id from tasks
    where expired_at < now() - $1::interval
    order by expired_at
    limit $2
    for update skip locked
), taken as (
    insert into taken_ids (account_id, kind, external_task_id)
    select account_id, 'task', external_task_id from old where external_task_id is not null
    on conflict do nothing
), gone as (
    delete from tasks using old where tasks.id = old.id
)
select count(*) from old;
