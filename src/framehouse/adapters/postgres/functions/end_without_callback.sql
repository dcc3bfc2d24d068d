-- Ends an unfinished task of a deleted account as failed, without a charge and without a callback.
create or replace function end_without_callback(p_task uuid, p_message text) returns void
language plpgsql as $$
begin
    perform from tasks where id = p_task for no key update;
    update tasks set callback_url = null where id = p_task;
    delete from callback_messages where task_id = p_task and state = 'waiting' and (claim is null or lease_until < now());
    perform end_task(p_task, 'failed', p_message, 0, interval '0');
end $$;
