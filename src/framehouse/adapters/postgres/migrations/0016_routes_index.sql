-- Outside a transaction: a full queue is indexed while it is worked off. batches_due stays: workers of before claim by it.

drop index concurrently if exists batches_by_route;
create index concurrently batches_by_route on batches (model, route, run_at, id) where claim is null;
