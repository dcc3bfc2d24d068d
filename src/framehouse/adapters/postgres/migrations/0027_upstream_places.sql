-- The images that all workers together have in flight for an account at an upstream.

create table upstream_places (
    batch_id bigint not null references batches on delete cascade,
    account  text not null,
    places   integer not null,
    taken_at timestamptz not null,
    primary key (batch_id, account)
);
create index upstream_places_by_account on upstream_places (account);
comment on table upstream_places is 'The images that batches have in flight for an account at an upstream. See the function take_places.';
