-- Counts p_places images of a batch as in flight for an account at an upstream, instead of the places that the batch had
-- before. Returns the number of places of other batches. Returns null, and counts nothing, if other batches have places
-- and the sum would exceed p_limit. There is no limit if p_limit is null. Returns -1 if the worker has lost its claim.
-- Places that were taken more than 15 minutes ago do not count, so that orders that cannot be queried block no account
-- for longer. Repeating a call of this function has no effect.
create or replace function take_places(p_batch_id bigint, p_claim uuid, p_account text, p_places int, p_limit int, p_lock_class int) returns int
language plpgsql as $$
declare
    others int;
begin
    perform pg_advisory_xact_lock(p_lock_class, hashtext(p_account));
    perform from batches where id = p_batch_id and claim = p_claim for key share;
    if not found then
        return -1;
    end if;
    select coalesce(sum(p.places), 0) into others from upstream_places p
    where p.account = p_account and p.batch_id <> p_batch_id and p.taken_at > clock_timestamp() - interval '15 minutes';
    if others > 0 and others + p_places > p_limit then
        return null;
    end if;
    insert into upstream_places (batch_id, account, places, taken_at)
    values (p_batch_id, p_account, p_places, clock_timestamp())
    on conflict (batch_id, account) do update set places = excluded.places, taken_at = excluded.taken_at;
    return others;
end $$;
