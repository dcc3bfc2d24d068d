-- Saves one finished shot of a claimed batch. When the last shot of a task is saved, the task succeeds and its account
-- is charged. If p_cost is not null, it is added to the costs of the route, which p_engine names. If p_perceptual_hash is
-- not null, copies of the image can be found by this hash of 32 bytes.
-- Returns 'lost' and changes nothing if the worker has lost the claim or the task has ended. Otherwise, returns
-- 'succeeded' if the task has succeeded, and 'kept' if it has not. If the response to a call was lost, a repeated call
-- returns the same value.
drop function if exists settle_shot(uuid, bigint, uuid, smallint, text, text, text, text, integer, integer, interval);
drop function if exists settle_shot(
    uuid, bigint, uuid, smallint, text, text, text, text, integer, integer, interval, text
);
drop function if exists settle_shot(
    uuid, bigint, uuid, smallint, text, text, text, text, integer, integer, interval, text, numeric, text
);
create or replace function settle_shot(
    p_task uuid, p_batch bigint, p_claim uuid, p_index smallint, p_engine text, p_key text, p_watermark_key text, p_media_type text,
    p_width integer, p_height integer, p_retention interval, p_thumb_hash text default null,
    p_cost numeric default null, p_currency text default null, p_perceptual_hash bytea default null
) returns text
language plpgsql as $$
declare
    t tasks;
begin
    select * into t from tasks where id = p_task for no key update;
    if exists (select 1 from shots where task_id = p_task and index = p_index and key = p_key) then
        return case t.status when 'succeed' then 'succeeded' else 'kept' end;
    end if;
    if not exists (select 1 from batches where id = p_batch and task_id = p_task and claim = p_claim) then
        return 'lost';
    end if;
    update shots
    set painted_at = now(), engine = p_engine, key = p_key, watermark_key = nullif(p_watermark_key, ''),
        media_type = p_media_type, width = p_width, height = p_height, thumb_hash = nullif(p_thumb_hash, ''),
        cost = p_cost, currency = p_currency
    where task_id = t.id and index = p_index and painted_at is null;
    if not found then
        return 'kept';
    end if;
    if p_perceptual_hash is not null then
        insert into image_hashes (task_id, index, hash, bands)
        values (
            t.id, p_index, ('x' || encode(p_perceptual_hash, 'hex'))::bit(256),
            array(
                select 65536 * band + 256 * get_byte(p_perceptual_hash, 2 * band) + get_byte(p_perceptual_hash, 2 * band + 1)
                from generate_series(0, 15) band
            )
        );
    end if;
    if p_cost is not null then
        insert into route_costs as c (day, account_id, model, route, currency, images, amount)
        values ((now() at time zone 'utc')::date, t.account_id, t.model, p_engine, p_currency, 1, p_cost)
        on conflict (day, model, route, currency, account_id)
        do update set images = c.images + 1, amount = c.amount + excluded.amount;
    end if;
    update tasks set images_done = images_done + 1, updated_at = now() where id = t.id;
    if t.images_done + 1 = t.image_count then
        perform end_task(t.id, 'succeed', '', t.units_reserved, p_retention);
        return 'succeeded';
    end if;
    delete from batches b
    where b.id = p_batch and not exists (
        select 1 from shots s
        where s.task_id = b.task_id and s.index = any (b.shot_indexes) and s.painted_at is null
    );
    return 'kept';
end $$;
