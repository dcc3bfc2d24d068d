-- Outside a transaction: a full queue is indexed while it is processed. The claim must never search the older index,
-- because that index contains postponed batches too.

drop index concurrently if exists batches_by_turn;
create index concurrently batches_by_turn on batches (model, route, low, turn, id) where claim is null and turn is not null;
drop index concurrently if exists batches_postponed;
create index concurrently batches_postponed on batches (model, route, run_at) where claim is null and turn is null;
drop index concurrently if exists batches_by_route;
