-- Finds the image whose perceptual hash is most similar to one of p_hashes, with a distance of at most p_max_distance.
-- Only images with at least one of p_bands are searched. Images of the account p_account take precedence.
-- The index must always be used: PostgreSQL overestimates the number of images that have one of many bands, and would
-- read the complete table.
create or replace function find_similar_image(
    p_hashes bit(256)[], p_bands integer[], p_max_distance integer, p_account bigint
) returns table (
    task_id uuid, index smallint, account_id bigint, account text, model text, engine text, created_at timestamptz, distance integer
)
language sql stable
set enable_seqscan = off as $$
    select h.task_id, h.index, t.account_id, a.name, t.model, coalesce(s.engine, ''), s.painted_at, h.distance
    from (
        select i.task_id, i.index, (select min(bit_count(i.hash # f.hash)) from unnest(p_hashes) f (hash))::int as distance
        from image_hashes i
        where i.bands && p_bands
    ) h
    join shots s on s.task_id = h.task_id and s.index = h.index
    join tasks t on t.id = h.task_id
    join accounts a on a.id = t.account_id
    where h.distance <= p_max_distance
    order by t.account_id = p_account desc, h.distance, s.painted_at
    limit 1
$$;
