-- Outside a transaction: a full queue is indexed while it is worked off. batches_due goes, for claiming must never be planned
-- by it: it would look through all that waits for others.

drop index concurrently if exists batches_by_route;
create index concurrently batches_by_route on batches (model, route, run_at, id) where claim is null;
drop index concurrently if exists batches_due;
