-- Charges the account of an ended task, and releases the quota and the units that accept_tasks reserved for the task.
-- The function end_task calls this function in the transaction that ends the task, so a task is charged only once.
create or replace function charge_account(t tasks) returns void
language plpgsql as $$
begin
    update accounts
    set images_in_flight = images_in_flight - t.image_count,
        units_reserved = units_reserved - t.units_reserved,
        units_used = units_used + t.units_charged
    where id = t.account_id;
end $$;
