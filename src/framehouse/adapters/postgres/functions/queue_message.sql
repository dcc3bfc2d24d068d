-- Queues the callback for a change of a task. The calling function has updated the row of the task in the same
-- transaction. A message is not due while an earlier message of the same task is waiting. When the earlier message has
-- been delivered or will not be retried, end_callback makes the later message due.
create or replace function queue_message(
    p_task uuid, p_element_task uuid, p_url text, p_status text, p_status_message text, p_units bigint, p_updated_at timestamptz
) returns void
language plpgsql as $$
declare
    before text;
begin
    if p_url is null then
        return;
    end if;
    -- because of this lock, either this function sees the update of end_callback, or end_callback sees the new message
    select state into before from callback_messages
    where (task_id = p_task or element_task_id = p_element_task) and state = 'waiting'
    order by sequence
    limit 1
    for update;
    insert into callback_messages
        (task_id, element_task_id, sequence, host, status, status_message, units_charged, updated_at, run_at)
    values (p_task, p_element_task, case p_status when 'processing' then 1 else 2 end,
            left(lower(substring(p_url from '^[^/]*//([^/?#]*)')), 300),
            p_status, p_status_message, p_units, p_updated_at,
            case when before = 'waiting' then 'infinity' else now() end)
    on conflict do nothing;
end $$;
