-- Claims up to p_most due elements, and marks them as processing. The account with the fewest claimed elements is first;
-- the elements of an account are claimed in the order in which they became due. If p_only is not null, only the element
-- with this task id is claimed. If p_ready is true, only elements whose images are all stored are claimed.
create or replace function claim_elements(p_most integer, p_lease interval, p_claim uuid, p_only uuid, p_ready boolean)
returns setof element_answers
language plpgsql as $$
declare
    due uuid[];
    e   elements;
begin
    due := array(
        select locked.id
        from (
            select w.id
            from elements w
            left join (
                select c.account_id, count(*) as n from elements c
                where c.status in ('submitted', 'processing') and c.claim <> p_claim and c.lease_until >= now()
                group by c.account_id
            ) claimed on claimed.account_id = w.account_id
            where w.status in ('submitted', 'processing') and w.run_at <= now() and (p_only is null or w.id = p_only)
              -- an element already has this claim if the call is repeated because its result was lost
              and (w.claim is null or w.lease_until < now() or w.claim = p_claim)
              and (not p_ready or not exists (select from element_references r where r.element = w.id and r.key is null))
            order by (w.claim is not distinct from p_claim) desc, row_number() over (partition by w.account_id order by w.run_at, w.id) + coalesce(claimed.n, 0), w.run_at, w.id
        ) waiting
        cross join lateral (
            select l.id from elements l
            where l.id = waiting.id and l.status in ('submitted', 'processing')
              and (l.claim is null or l.lease_until < now() or l.claim = p_claim)
            for update skip locked
        ) locked
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
