-- Outside a transaction: a full queue is indexed while it is processed. Claims use this index to find the batches that
-- have an open order at a paused or draining route.

drop index concurrently if exists batches_with_orders;
create index concurrently batches_with_orders on batches (model, route) where claim is null and notes <> '{}';
