-- $1 worker, $2 its findings as a JSON array. Rows of workers that are gone are removed by whoever comes by.
with gone as (
    delete from route_checks
    where seen_at < now() - interval '1 hour'
       or (worker = $1 and (model, route, what) not in
           (select f.model, f.route, f.what from jsonb_to_recordset($2::jsonb) as f (model text, route text, what text)))
)
insert into route_checks (worker, model, route, what, fit, told)
select $1, f.model, f.route, f.what, f.fit, f.told
from jsonb_to_recordset($2::jsonb) as f (model text, route text, what text, fit boolean, told text)
on conflict (worker, model, route, what) do update
set fit = excluded.fit, told = excluded.told, seen_at = now();
