-- Outside a transaction: a full queue is indexed while it is processed. Claims find the open orders of a paused route
-- with this index.

drop index concurrently if exists batches_with_orders;
create index concurrently batches_with_orders on batches (model, route) where claim is null and notes <> '{}';
