create or replace function queue_callback(e elements) returns void
language sql as $$
    select queue_message(null, e.id, e.callback_url, e.status, e.status_message, 0, e.updated_at)
$$;
