-- Records that a claimed message was delivered or will not be retried. The next message of the same task becomes due.
create or replace function end_callback(p_id uuid, p_claim uuid, p_state text, p_code integer, p_error text) returns void
language plpgsql as $$
declare
    m callback_messages;
begin
    update callback_messages
    set state = p_state, last_code = p_code, last_error = p_error, claim = null, lease_until = null
    where id = p_id and claim = p_claim and state = 'waiting'
    returning * into m;
    if found then
        update callback_messages set run_at = now()
        where id = (
            select n.id from callback_messages n
            where (n.task_id = m.task_id or n.element_task_id = m.element_task_id)
              and n.sequence > m.sequence and n.state = 'waiting' and n.run_at = 'infinity'
            order by n.sequence
            limit 1
        );
    end if;
end $$;
