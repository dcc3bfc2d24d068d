-- What is left of tasks and elements that were removed long after their end: external ids stay taken for ever.

create table taken_ids (
    account_id       bigint not null references accounts,
    kind             text not null check (kind in ('task', 'element')),
    external_task_id text not null,
    primary key (account_id, kind, external_task_id)
);
