-- Creates an element. If an earlier call with the same task id has already created the element, for example because the
-- call is repeated after its result was lost, the function returns 'accepted' again.
create or replace function create_element(p_row jsonb)
returns table (outcome text, task_id uuid, created_at timestamptz)
language plpgsql as $$
declare
    r     elements := jsonb_populate_record(null::elements, p_row);
    known idempotency_keys;
begin
    perform from accounts where id = r.account_id for update;
    task_id := r.id; created_at := now(); outcome := 'accepted';
    if exists (select 1 from elements e where e.id = r.id) then
        select e.created_at into created_at from elements e where e.id = r.id;
        return next; return;
    end if;
    select * into known from idempotency_keys k
    where k.account_id = r.account_id and k.key = p_row ->> 'idempotency_key' and k.created_at > now() - idempotency_window();
    if found then
        task_id := known.task_id; created_at := known.created_at;
        outcome := case when known.body_hash = (p_row ->> 'body_hash')::bytea then 'replayed' else 'key_reused' end;
        return next; return;
    end if;
    if exists (
        select 1 from elements e where e.account_id = r.account_id and e.external_task_id = r.external_task_id
        union all
        select 1 from taken_ids i
        where i.account_id = r.account_id and i.kind = 'element' and i.external_task_id = r.external_task_id
    ) then
        outcome := 'external_taken'; return next; return;
    end if;
    insert into elements (id, element_id, account_id, external_task_id, name, description, tags, callback_url)
    values (r.id, r.element_id, r.account_id, r.external_task_id, r.name, r.description, r.tags, r.callback_url);
    insert into element_references (element, index, field, url, key, width, height)
    select r.id, f.index, f.field, f.url, f.key, f.width, f.height
    from jsonb_to_recordset(p_row -> 'images')
         as f (index smallint, field text, url text, key text, width integer, height integer);
    if p_row ->> 'idempotency_key' is not null then
        insert into idempotency_keys as k (account_id, key, body_hash, task_id)
        values (r.account_id, p_row ->> 'idempotency_key', (p_row ->> 'body_hash')::bytea, r.id)
        on conflict (account_id, key) do update
        set body_hash = excluded.body_hash, task_id = excluded.task_id, created_at = excluded.created_at;
    end if;
    return next;
end $$;
