-- $1 batch, $2 claim, $3 route, $4 its note as JSON, or null to forget it. What is under way goes on there, whoever dies.
update batches
set notes = case when $4::text is null then notes - $3 else jsonb_set(notes, array[$3::text], $4::text::jsonb) end,
    route = case when $4::text::jsonb ? 'note' then $3::text else route end
where id = $1 and claim = $2
returning true;
