-- Fair turns: workers serve the accounts in turn, instead of serving the batches in the order of their acceptance. See
-- docs/adr/0022-fair-turns.md.

alter table accounts add column weight double precision not null default 1 check (weight > 0 and weight <= 100);
comment on column accounts.weight is 'the share of the account in comparison with other accounts';

alter table batches
    add column low boolean not null default false,
    add column turn double precision default 0,
    add column turn_cost double precision not null default 1,
    add column postponed boolean not null default false;
alter table tasks add column low boolean not null default false;
comment on column tasks.low is 'true: the task has low priority';
comment on column batches.postponed is 'true: the batch got its turn after a pause';
comment on column batches.low is 'true: the batch has low priority';
comment on column batches.turn is 'the batch with the lowest turn in a queue is claimed first; null: postponed until run_at';
comment on column batches.turn_cost is 'the cost of the batch, divided by the weight of its account';

create table batch_queues (
    model        text not null,
    route        text not null,
    low          boolean not null,
    virtual_time double precision not null default 0,
    last_end     double precision not null default 0,
    claimed_at   timestamptz not null default now(),
    primary key (model, route, low)
) with (fillfactor = 50);
comment on table batch_queues is 'One row per queue. A queue contains the waiting batches of one route and one priority.';
comment on column batch_queues.virtual_time is 'the highest turn that a worker has claimed, but not higher than the turn of a waiting batch';
comment on column batch_queues.last_end is 'the highest sum of turn and turn_cost that a worker has claimed';
comment on column batch_queues.claimed_at is 'the time of the last claim';

create table account_turns (
    account_id bigint not null,
    model      text not null,
    route      text not null,
    low        boolean not null,
    postponed  boolean not null,
    next_turn  double precision not null,
    refund     double precision not null default 0,
    primary key (account_id, model, route, low, postponed)
) with (fillfactor = 50);
comment on table account_turns is 'The next turn of an account in a queue. Postponed batches have separate turns. There is no foreign key, because checking it would slow down accepts.';
comment on column account_turns.refund is 'the cost of the batches that were deleted before a worker had claimed them';

alter type accept_row add attribute low boolean, add attribute shot_cost double precision;
