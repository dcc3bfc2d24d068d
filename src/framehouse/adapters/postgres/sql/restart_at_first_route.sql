-- Batches that wait for a route that was removed from the configuration restart at the first route, unless they have an
-- open order.
update batches set route = ''
where id in (
    select id from batches
    where claim is null and model = :model and route = :route and not exists (select from jsonb_each(notes) n where n.value ? 'note')
    order by id
    for update skip locked
);
