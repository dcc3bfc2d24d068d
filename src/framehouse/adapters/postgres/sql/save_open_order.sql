-- A null :stored_order deletes the entry of the route. A batch with an open order stays with the route of the order,
-- even if its worker dies.
update batches
set notes = case when :stored_order::text is null then notes - :route else jsonb_set(notes, array[:route::text], :stored_order::text::jsonb) end,
    route = case when :stored_order::text::jsonb ? 'note' then :route::text else route end
where id = :batch_id and claim = :claim
returning true;
