-- $1 batch, $2 claim, $3 how long from now, $4 what went wrong or null, $5 whether the attempt counts
update batches
set claim = null, worker = null, lease_until = null, progress = 0, run_at = now() + $3,
    last_error = coalesce($4, last_error), failing_since = case when $4 is null then failing_since else coalesce(failing_since, now()) end,
    attempt = attempt - case when $5 then 0 else 1 end
where id = $1 and claim = $2;
