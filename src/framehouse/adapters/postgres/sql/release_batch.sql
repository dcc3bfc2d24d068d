-- Releases a claimed batch. If :error is null, the last error does not change. :route is the next route. An empty
-- :route means the first route of the model. A null :route means the current route. If the batch has an open order,
-- :route is ignored, and the batch is assigned to the route of the order. The batch gets a new turn when it is due.
update batches
set claim = null, worker = null, lease_until = null, progress = :progress, run_at = now() + :after, turn = null,
    last_error = coalesce(:error, last_error), failing_since = case when :error is null then failing_since else coalesce(failing_since, now()) end,
    attempt = attempt - case when :count_attempt then 0 else 1 end,
    route = coalesce((select n.key from jsonb_each(notes) n where n.value ? 'note' limit 1), :route::text, route)
where id = :batch_id and claim = :claim;
