-- Finds a finished image by its task and its index, with the smallest distance of its perceptual hash to one of :hashes.
select s.task_id, s.index, t.account_id, a.name as account, t.model, coalesce(s.engine, '') as engine,
       s.painted_at as created_at,
       (select min(bit_count(i.hash # f.hash)) from unnest(:hashes::bit(256)[]) f (hash))::int as distance
from shots s
join tasks t on t.id = s.task_id
join accounts a on a.id = t.account_id
left join image_hashes i on i.task_id = s.task_id and i.index = s.index
where s.task_id = :task_id::uuid and s.index = :index::int and s.painted_at is not null;
