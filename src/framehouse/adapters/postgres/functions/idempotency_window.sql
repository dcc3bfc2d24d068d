-- Returns the time for which an Idempotency-Key is valid. All other code calls this function to get the time.
create or replace function idempotency_window() returns interval
language sql immutable as $$
    select interval '24 hours'
$$;
