-- Makes a message due again. Resets the number of its attempts and its creation time, so that the message is retried
-- for another 24 hours. A message whose delivery is in progress is not changed.
with message as (
    select m.id, m.claim is not null and m.lease_until >= now() as in_progress
    from callback_messages m
    left join tasks t on t.id = m.task_id
    left join elements e on e.id = m.element_task_id
    where coalesce(t.account_id, e.account_id) = :account_id and m.id = :message_id
), audited as (
    insert into audit_log (actor, action, subject) select :actor, 'callback.resend', id::text from message where :actor::text is not null and not in_progress
), changed as (
    update callback_messages m
    set state = 'waiting', run_at = now(), created_at = now(), attempt = 0, claim = null, lease_until = null
    from message
    where m.id = message.id and not message.in_progress
)
select id from message;
