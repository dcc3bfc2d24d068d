-- Marks tasks as processing. Their batches are claimed in a separate transaction, so that a transaction never locks a
-- task after a batch.
create or replace function start_tasks(p_tasks uuid[]) returns void
language plpgsql as $$
declare
    t tasks;
begin
    for t in
        update tasks set status = 'processing', updated_at = now()
        from (select id from tasks where id = any (p_tasks) and status = 'submitted' order by id for no key update) due
        where tasks.id = due.id
        returning tasks.*
    loop
        perform queue_callback(t);
    end loop;
end $$;
