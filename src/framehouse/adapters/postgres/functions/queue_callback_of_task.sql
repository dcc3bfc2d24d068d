create or replace function queue_callback(t tasks) returns void
language sql as $$
    select queue_message(t.id, null, t.callback_url, t.status, t.status_message, t.units_charged, t.updated_at)
$$;
