-- Cancels a task of an account. Returns null if the account has no such task, and false if the task had already ended.
create or replace function cancel_task(p_task uuid, p_account bigint, p_message text, p_retention interval)
returns boolean
language plpgsql as $$
declare
    t tasks;
begin
    select * into t from tasks where id = p_task and account_id = p_account for no key update;
    if not found then
        return null;
    end if;
    if t.status in ('succeed', 'failed') then
        return false;
    end if;
    perform end_task(p_task, 'failed', p_message, 0, p_retention);
    return true;
end $$;
