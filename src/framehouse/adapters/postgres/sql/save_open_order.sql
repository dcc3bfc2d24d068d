-- A null :note deletes the note of the route. A batch with an open order stays with that route, whatever happens to its worker.
update batches
set notes = case when :note::text is null then notes - :route else jsonb_set(notes, array[:route::text], :note::text::jsonb) end,
    route = case when :note::text::jsonb ? 'note' then :route::text else route end
where id = :batch_id and claim = :claim
returning true;
