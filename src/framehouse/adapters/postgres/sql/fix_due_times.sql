-- Corrects times that were written before the clock was set back. A row that would wait longer than the longest pause
-- is made due. A lease that is longer than a new lease is shortened. A row without an attempt has no pause, so it is
-- made due if it would wait at all. A batch with a turn that has not failed has no pause. :callback_pauses contains the longest pauses after the first, second, … attempt. A
-- receiver that responded with one of :retry_after_codes may have requested a pause of up to :callback_limit.
with batches_due as (
    update batches set run_at = now()
    where claim is null and run_at > now() + case when turn is not null and failing_since is null then interval '0' else :longest_pause::interval end
    returning 1
), elements_due as (
    update elements set run_at = least(run_at, now()), lease_until = least(lease_until, now() + :element_lease::interval)
    where status in ('submitted', 'processing')
      and (run_at > now() + case attempt when 0 then interval '0' else :longest_pause::interval end
           or lease_until > now() + :element_lease::interval)
    returning 1
), callbacks_due as (
    update callback_messages
    set run_at = case when run_at = 'infinity' then run_at else least(run_at, now()) end,
        lease_until = least(lease_until, now() + :callback_lease::interval)
    where state = 'waiting'
      and (lease_until > now() + :callback_lease::interval
           or run_at <> 'infinity' and run_at > now() + case
               when attempt = 0 then interval '0'
               when last_code = any (:retry_after_codes::int[]) then :callback_limit::interval
               else (:callback_pauses::interval[])[least(attempt, cardinality(:callback_pauses::interval[]))] end)
    returning 1
)
select (select count(*) from batches_due) + (select count(*) from elements_due) + (select count(*) from callbacks_due);
