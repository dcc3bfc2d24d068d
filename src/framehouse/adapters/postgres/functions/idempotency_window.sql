-- How long an Idempotency-Key is valid. This is the only definition of the duration.
create or replace function idempotency_window() returns interval
language sql immutable as $$
    select interval '24 hours'
$$;
