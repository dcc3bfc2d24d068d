-- Starts the delivery again from the first attempt. A message that is being delivered at this moment is left alone.
with wanted as (
    select m.id, m.claim is not null and m.lease_until >= now() as under_way
    from callback_messages m
    left join tasks t on t.id = m.task_id
    left join elements e on e.id = m.element_task_id
    where coalesce(t.account_id, e.account_id) = :account_id and m.id = :message_id
), changed as (
    update callback_messages m
    set state = 'waiting', run_at = now(), created_at = now(), attempt = 0, claim = null, lease_until = null
    from wanted
    where m.id = wanted.id and not wanted.under_way
)
select id from wanted;
