-- Returns the time for which an Idempotency-Key is valid. This is the only definition of this time.
create or replace function idempotency_window() returns interval
language sql immutable as $$
    select interval '24 hours'
$$;
