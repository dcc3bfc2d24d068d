-- Returns a failed task to the queue. p_batches contains the shot indexes of each new batch. The task keeps its id and
-- its finished images, and its account is charged only if the task succeeds. Returns 'retried', or the reason why the
-- task was not changed. If the task was already retried, a repeated call returns 'not_failed' and changes nothing.
drop function if exists retry_task(uuid, jsonb, double precision, text);
create or replace function retry_task(p_task uuid, p_batches jsonb, p_shot_cost double precision, p_canceled text, p_actor text default 'framehouse')
returns text
language plpgsql as $$
declare
    t tasks;
    a accounts;
begin
    select * into t from tasks where id = p_task for no key update;
    if not found or t.status <> 'failed' then
        return 'not_failed';
    end if;
    if t.status_message = p_canceled then
        return 'canceled';
    end if;
    if t.expired_at is not null or t.expires_at < now() then
        return 'expired';
    end if;
    -- The references are locked and marked as used, so that the sweeper does not delete them before the task ends.
    perform from stored_references s
    where s.key in (select r.key from task_references r where r.task_id = p_task) order by s.key for update;
    update stored_references set used_at = now()
    where key in (select r.key from task_references r where r.task_id = p_task);
    -- if the file of a reference was deleted and the reference was sent as a URL, the URL is fetched again
    update task_references r set key = null
    where r.task_id = p_task and r.url is not null and not exists (select from stored_references s where s.key = r.key);
    if exists (
        select from task_references r
        where r.task_id = p_task and r.url is null and not exists (select from stored_references s where s.key = r.key)
    ) then
        return 'reference_gone';
    end if;
    select * into a from accounts where id = t.account_id for update;
    if a.deleted_at is not null then
        return 'not_failed';
    end if;
    if a.units_used + a.units_reserved + t.units_reserved > a.units_limit then
        return 'over_units';
    end if;
    update accounts
    set images_in_flight = images_in_flight + t.image_count, units_reserved = units_reserved + t.units_reserved
    where id = t.account_id;
    update tasks
    set status = 'submitted', status_message = '', declined = false, updated_at = now(), ended_at = null, expires_at = null, owner = null
    where id = p_task;
    insert into batches (task_id, model, shot_indexes, low, turn, turn_cost)
    select p_task, t.model, b.indexes, t.low, null, cardinality(b.indexes) * p_shot_cost / a.weight
    from (
        -- shots that were finished after list_failed_tasks had listed the task are omitted
        select array(
            select s.index from jsonb_array_elements_text(n.value) as i (index)
            join shots s on s.task_id = p_task and s.index = i.index::smallint and s.painted_at is null
            order by s.index
        ) as indexes
        from jsonb_array_elements(p_batches) with ordinality as n (value, place)
        order by n.place
    ) b
    where b.indexes <> '{}';
    -- Waiting callback messages about the task are out of date, so they are deleted, unless their delivery is already
    -- in progress. The other old messages get sequence numbers below 0, so that the messages about the retried task can
    -- get the sequence numbers 1 and 2 (see queue_message).
    perform from callback_messages where task_id = p_task order by sequence for update;
    delete from callback_messages
    where task_id = p_task and state = 'waiting' and (claim is null or lease_until < now());
    update callback_messages
    set sequence = sequence - 3 + (select least(min(m.sequence), 0) from callback_messages m where m.task_id = p_task)
    where task_id = p_task and sequence > 0;
    insert into audit_log (actor, action, subject, details)
    values (p_actor, 'task.retry', p_task, jsonb_build_object('account', a.name, 'failed_with', t.status_message));
    return 'retried';
end $$;
