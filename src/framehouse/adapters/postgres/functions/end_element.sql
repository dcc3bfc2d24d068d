-- Ends the processing of a claimed element. p_images contains the index, the key and the size of each stored image. A
-- call by a late worker changes nothing.
create or replace function end_element(p_id uuid, p_claim uuid, p_status text, p_message text, p_images jsonb) returns void
language plpgsql as $$
declare
    e elements;
begin
    update elements set status = p_status, status_message = p_message, updated_at = now(), claim = null, lease_until = null
    where id = p_id and claim = p_claim and status = 'processing'
    returning * into e;
    if found then
        update element_references r set key = f.key, width = f.width, height = f.height
        from jsonb_to_recordset(p_images) as f (index smallint, key text, width integer, height integer)
        where r.element = p_id and r.index = f.index;
        perform queue_callback(e);
    end if;
end $$;
