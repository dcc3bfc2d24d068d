-- What images cost the operator.

alter table shots add column cost numeric(18, 6), add column currency text;
comment on column shots.cost is 'what the image cost the operator, in currency; null: not known';

create table route_costs (
    day        date not null,
    account_id bigint not null,
    model      text not null,
    route      text not null,
    currency   text not null,
    images     bigint not null,
    amount     numeric(18, 6) not null,
    primary key (day, model, route, currency, account_id)
);
comment on table route_costs is
    'The costs of the images of each route, per day (UTC) and account. The rows remain when tasks and accounts are deleted.';
