-- Pauses or drains a route, or resumes it if :state is null. Returns whether the state has changed. :waiting_as
-- contains the route names that are stored in the batches that wait for the route. Some of these batches have already
-- failed and wait for a retry. When the route is resumed, the time limit for retrying these batches starts again,
-- because they could not be retried in the meantime.
with before as (
    select (select state from route_controls where model = :model and route = :route) as state
), resumed as (
    delete from route_controls where model = :model and route = :route and :state::text is null
), restarted as (
    update batches set failing_since = null
    where id in (
        select id from batches
        where claim is null and model = :model and route = any (:waiting_as::text[]) and failing_since is not null and :state::text is null
          and exists (select from before where before.state is not null)
        order by id
        for update skip locked
    )
), controlled as (
    insert into route_controls (model, route, state)
    select :model, :route, :state::text where :state::text is not null
    on conflict (model, route) do update set state = excluded.state, changed_at = now()
    where route_controls.state <> excluded.state
), audited as (
    insert into audit_log (actor, action, subject)
    select :actor, :action, :model || '/' || :route from before where before.state is distinct from :state::text
)
select before.state is distinct from :state::text from before;
