-- Replaces all results of :worker. Also deletes every result that is more than an hour old.
with deleted as (
    delete from route_checks
    where seen_at < now() - interval '1 hour'
       or (worker = :worker and (model, route, what) not in
           (select f.model, f.route, f.subject from jsonb_to_recordset(:checks::jsonb) as f (model text, route text, subject text)))
)
insert into route_checks (worker, model, route, what, fit, told)
select :worker, f.model, f.route, f.subject, f.ok, f.reason
from jsonb_to_recordset(:checks::jsonb) as f (model text, route text, subject text, ok boolean, reason text)
on conflict (worker, model, route, what) do update
set fit = excluded.fit, told = excluded.told, seen_at = now();
