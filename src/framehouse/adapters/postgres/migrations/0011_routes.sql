-- Which route a batch waits for: a worker claims those that wait for a route that it serves.

alter table batches add column route text not null default '';
comment on column batches.route is
    'the name of the route that is to go on with it; empty: the first of its model. Where something is under way, that one';
