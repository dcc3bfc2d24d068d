-- How long an Idempotency-Key is remembered: the only place of this number.
create or replace function idempotency_window() returns interval
language sql immutable as $$
    select interval '24 hours'
$$;
