-- Ends a task: deletes its batches, charges its account and queues its callback. The calling function must have locked
-- the row of the task.
create or replace function end_task(p_task uuid, p_status text, p_message text, p_charge bigint, p_retention interval)
returns void
language plpgsql as $$
declare
    t tasks;
begin
    update tasks
    set status = p_status, status_message = p_message, units_charged = p_charge, updated_at = now(), ended_at = now(),
        expires_at = now() + p_retention
    where id = p_task and status in ('submitted', 'processing')
    returning * into t;
    if not found then
        return;
    end if;
    -- batches are locked in the order of their ids, as in renew_leases.sql, to prevent deadlocks
    perform from batches where task_id = p_task order by id for update;
    perform charge_account(t);
    if p_status = 'failed' then
        -- refund the costs of the batches that no worker has claimed since they got their turn
        update account_turns a
        set refund = a.refund + case when a.postponed then 0 else unused.cost end,
            next_turn = a.next_turn - case when a.postponed then unused.cost else 0 end
        from (
            select b.model, b.route, b.low, b.postponed, sum(b.turn_cost) as cost from batches b
            where b.task_id = p_task and b.attempt = 0 and b.claim is null and b.turn is not null
            group by b.model, b.route, b.low, b.postponed
        ) unused
        where a.account_id = t.account_id and a.model = unused.model and a.route = unused.route and a.low = unused.low
          and a.postponed = unused.postponed;
    end if;
    delete from batches where task_id = p_task;
    perform queue_callback(t);
end $$;
