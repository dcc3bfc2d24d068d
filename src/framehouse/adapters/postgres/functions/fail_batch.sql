-- Marks the task of a claimed batch as failed, without a charge. If p_declined is true, the task failed because of its
-- request. Returns false if the worker has lost the claim.
drop function if exists fail_batch(bigint, uuid, text, interval);
create or replace function fail_batch(p_batch bigint, p_claim uuid, p_message text, p_retention interval, p_declined boolean default false)
returns boolean
language plpgsql as $$
declare
    t uuid;
begin
    select tasks.id into t from tasks join batches b on b.task_id = tasks.id
    where b.id = p_batch and b.claim = p_claim
    for no key update of tasks;
    if not found or not exists (select 1 from batches where id = p_batch and claim = p_claim) then
        return false;
    end if;
    update tasks set declined = p_declined where id = t and declined <> p_declined;
    perform end_task(t, 'failed', p_message, 0, p_retention);
    return true;
end $$;
