-- Counts a request to a route, unless the route has received p_limit requests within the last minute. Returns 0 if the
-- request was counted. Otherwise, returns the number of seconds until the next request is possible. If a call of this
-- function is repeated because its result was lost, the request is counted twice. The route may then receive fewer
-- requests than p_limit, but never more.
create or replace function take_request(p_model text, p_route text, p_limit int, p_lock_class int) returns float8
language plpgsql as $$
declare
    oldest timestamptz;
begin
    perform pg_advisory_xact_lock(p_lock_class, hashtext(p_model || ' ' || p_route));
    -- a time in the future was written before the clock was set back
    update route_requests set requested_at = clock_timestamp()
    where model = p_model and route = p_route and requested_at > clock_timestamp();
    delete from route_requests
    where model = p_model and route = p_route and requested_at <= clock_timestamp() - interval '1 minute';
    select r.requested_at into oldest from route_requests r
    where r.model = p_model and r.route = p_route
    order by r.requested_at desc
    offset p_limit - 1 limit 1;
    if found then
        return greatest(extract(epoch from oldest + interval '1 minute' - clock_timestamp()), 0.001);
    end if;
    insert into route_requests (model, route, requested_at) values (p_model, p_route, clock_timestamp());
    return 0;
end $$;
