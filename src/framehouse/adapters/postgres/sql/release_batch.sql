-- $1 batch, $2 claim, $3 how long from now, $4 what went wrong or null, $5 whether the attempt counts, $6 the route that goes on
-- with it (empty: its model's first; null: as before). Where something is under way, it stays.
update batches
set claim = null, worker = null, lease_until = null, progress = 0, run_at = now() + $3,
    last_error = coalesce($4, last_error), failing_since = case when $4 is null then failing_since else coalesce(failing_since, now()) end,
    attempt = attempt - case when $5 then 0 else 1 end,
    route = coalesce((select n.key from jsonb_each(notes) n where n.value ? 'note' limit 1), $6::text, route)
where id = $1 and claim = $2;
