-- Changes the route of the batches that wait for a route that was removed, paused or drained. The new route is the first
-- route of the model. Batches that have an open order are not changed.
update batches set route = '', turn = null
where id in (
    select id from batches
    where claim is null and model = :model and route = :route and not exists (select from jsonb_each(notes) n where n.value ? 'note')
    order by id
    for update skip locked
);
