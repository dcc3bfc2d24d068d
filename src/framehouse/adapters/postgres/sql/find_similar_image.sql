-- Finds the image whose perceptual hash is most similar to one of :hashes. :bands contains the bands to search for. The
-- images of the account :account_id are preferred.
select h.task_id, h.index, t.account_id, a.name as account, t.model, coalesce(s.engine, '') as engine,
       s.painted_at as created_at, h.distance
from (
    select i.task_id, i.index,
           (select min(bit_count(i.hash # f.hash)) from unnest(:hashes::bit(256)[]) f (hash))::int as distance
    from image_hashes i
    where i.bands && :bands::int[]
) h
join shots s on s.task_id = h.task_id and s.index = h.index
join tasks t on t.id = h.task_id
join accounts a on a.id = t.account_id
where h.distance <= :max_distance::int
order by t.account_id = :account_id::bigint desc, h.distance, s.painted_at
limit 1;
