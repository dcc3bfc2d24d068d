-- One row for each charge. The amounts of an account's rows always add up to accounts.units_used.

alter table tasks add column key_id bigint;
comment on column tasks.key_id is 'the API key of the request; null: a command, or a task that an older release accepted';

create table charges (
    id           bigint generated always as identity primary key,
    account_id   bigint not null references accounts,
    task_id      uuid,
    key_id       bigint,
    kind         text not null,
    model        text not null,
    resolution   text not null,
    units_before bigint not null,
    amount       bigint not null,
    units_after  bigint not null,
    charged_at   timestamptz not null default now(),
    check (units_after = units_before + amount)
);
comment on column charges.task_id is 'null: the units that were used before this table existed; the task itself may be deleted';
comment on column charges.units_before is 'the units that the account had used before the charge';
create index charges_by_account on charges (account_id, id desc);

insert into charges (account_id, kind, model, resolution, units_before, amount, units_after)
select id, '', '', '', 0, units_used, units_used from accounts where units_used > 0;
