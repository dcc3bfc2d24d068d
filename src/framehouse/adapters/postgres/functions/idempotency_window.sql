-- Returns the time for which an Idempotency-Key is valid. All other code uses this function
-- instead of repeating the value.
create or replace function idempotency_window() returns interval
language sql immutable as $$
    select interval '24 hours'
$$;
