-- What engines that order pictures elsewhere must still know after a crash, and how the routes are.

alter table batches add column notes jsonb not null default '{}';
comment on column batches.notes is
    'by route: {"note": …} of an order that is under way there, or {"given_up": "why"} where it is never asked again';

create table route_checks (
    worker  integer not null,
    model   text not null,
    route   text not null,
    what    text not null,
    fit     boolean not null,
    told    text not null,
    seen_at timestamptz not null default now(),
    primary key (worker, model, route, what)
);
comment on table route_checks is 'How each worker last found what its engines depend on; old rows are of workers that are gone.';
