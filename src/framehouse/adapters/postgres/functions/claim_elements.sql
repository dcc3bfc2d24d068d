-- Claims up to p_most due elements, oldest first, and marks them as processing. If p_only is not null, only the element
-- with this task id is claimed. If p_ready is true, only elements whose images are all stored are claimed.
create or replace function claim_elements(p_most integer, p_lease interval, p_claim uuid, p_only uuid, p_ready boolean)
returns setof element_answers
language plpgsql as $$
declare
    due uuid[];
    e   elements;
begin
    due := array(
        select id from elements
        where status in ('submitted', 'processing') and run_at <= now() and (p_only is null or id = p_only)
          -- if the result of an earlier run was lost, the element already has this claim
          and (claim is null or lease_until < now() or claim = p_claim)
          and (not p_ready or not exists (select from element_references r where r.element = elements.id and r.key is null))
        order by run_at, id
        for update skip locked
        limit p_most
    );
    for e in
        update elements set status = 'processing', updated_at = now()
        where id = any (due) and status = 'submitted'
        returning *
    loop
        perform queue_callback(e);
    end loop;
    update elements set claim = p_claim, lease_until = now() + p_lease, attempt = attempt + 1 where id = any (due);
    return query select * from element_answers where id = any (due);
end $$;
