-- What accept_tasks takes. The functions themselves are in functions.sql.

create type accept_row as (
    ordinal int, task_id uuid, account_id bigint, external_task_id text, idempotency_key text, body_hash bytea,
    model text, prompt text, elements bigint[], result_type text, image_count smallint, resolution text, ratio text,
    watermark boolean, callback_url text, owner integer, units bigint, shots jsonb, batches jsonb, task_references jsonb, task_elements jsonb
);
