-- Saves the state of a batch's open order at a route. If :stored_order is null, the state is deleted. A batch with an
-- open order is assigned to the route of the order. The batch keeps this route even if its worker dies.
update batches
set notes = case when :stored_order::text is null then notes - :route else jsonb_set(notes, array[:route::text], :stored_order::text::jsonb) end,
    route = case when :stored_order::text::jsonb ? 'note' then :route::text else route end
where id = :batch_id and claim = :claim
returning true;
