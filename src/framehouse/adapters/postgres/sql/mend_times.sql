-- Work that is put off for longer than any pause lasts, or held for longer than any lease, was so by a clock that has gone
-- back since; what was never tried is due at once. $1 the longest pause of batches and elements. Callbacks pause as
-- domain/callback.py says: twice as long each time, up to an hour and a half; a day, where the receiver may have asked for it.
with batches_due as (
    update batches set run_at = now()
    where claim is null and run_at > now() + case when failing_since is null then interval '0' else $1::interval end
    returning 1
), elements_due as (
    update elements set run_at = least(run_at, now()), lease_until = least(lease_until, now() + interval '2 minutes')
    where status in ('submitted', 'processing')
      and (run_at > now() + case attempt when 0 then interval '0' else $1::interval end or lease_until > now() + interval '2 minutes')
    returning 1
), callbacks_due as (
    update callback_messages
    set run_at = case when run_at = 'infinity' then run_at else least(run_at, now()) end,
        lease_until = least(lease_until, now() + interval '1 minute')
    where state = 'waiting'
      and (lease_until > now() + interval '1 minute'
           or run_at <> 'infinity' and run_at > now() + case
               when attempt = 0 then interval '0'
               when last_code in (429, 503) then interval '24 hours'
               else least(5400, 1.5 * 2 ^ least(attempt, 20)) * interval '1 second' end)
    returning 1
)
select (select count(*) from batches_due) + (select count(*) from elements_due) + (select count(*) from callbacks_due);
