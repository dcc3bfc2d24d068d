-- $1 model, $2 a route that is not there any more: what waits for it, and has nothing under way there, begins with the first.
update batches set route = ''
where id in (
    select id from batches
    where claim is null and model = $1 and route = $2 and not exists (select from jsonb_each(notes) n where n.value ? 'note')
    order by id
    for update skip locked
);
