-- Charges the account of an ended task, and releases the quota and the units that accept_tasks reserved for the task.
-- The function end_task calls this function in the transaction that ends the task, so a task is charged only once.
create or replace function charge_account(t tasks) returns void
language plpgsql as $$
declare
    used bigint;
begin
    update accounts
    set images_in_flight = images_in_flight - t.image_count,
        units_reserved = units_reserved - t.units_reserved,
        units_used = units_used + t.units_charged
    where id = t.account_id
    returning units_used into used;
    if t.units_charged <> 0 then
        insert into charges (account_id, task_id, key_id, kind, model, resolution, units_before, amount, units_after)
        values (t.account_id, t.id, t.key_id, t.kind, t.model, t.resolution, used - t.units_charged, t.units_charged, used);
    end if;
end $$;
