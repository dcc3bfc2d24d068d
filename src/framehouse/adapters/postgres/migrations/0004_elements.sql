-- Saved elements: made by the librarian, used by tasks, which take along what they need.

create table elements (
    id               uuid primary key,
    element_id       bigint not null unique check (element_id < 9007199254740992),
    account_id       bigint not null references accounts,
    external_task_id text,
    status           text not null default 'submitted' check (status in ('submitted', 'processing', 'succeed', 'failed')),
    status_message   text not null default '',
    name             text not null,
    description      text not null,
    tags             text[] not null,
    callback_url     text,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    deleted_at       timestamptz,
    run_at           timestamptz not null default now(),
    lease_until      timestamptz,
    claim            uuid,
    attempt          smallint not null default 0,
    last_error       text,
    unique (account_id, external_task_id)
);
comment on table elements is 'An element and the task of making it, which is its own job: run_at, lease_until, claim and attempt as in batches.';
comment on column elements.id is 'the task''s id; element_id is what tasks name it by';
comment on column elements.deleted_at is 'the row stays, for its external id is taken for ever; its pictures do not';
create index elements_by_account on elements (account_id, created_at desc, id desc) where deleted_at is null;
create index elements_due on elements (run_at, id) where status in ('submitted', 'processing');

create table element_references (
    element uuid not null references elements on delete cascade,
    index   smallint not null,
    field   text not null,
    url     text,
    key     text,
    width   integer,
    height  integer,
    primary key (element, index),
    check (url is not null or key is not null)
);
comment on table element_references is 'The pictures of elements that are not deleted, the frontal one first; as task_references.';
comment on column element_references.field is 'where in the request it came in';

create index element_references_by_key on element_references (key) where key is not null;

create view needed_references as
select r.key
from task_references r
join tasks t on t.id = r.task_id
where r.key is not null and t.status in ('submitted', 'processing')
union all
select r.key
from element_references r
join elements e on e.id = r.element
where r.key is not null and e.status <> 'failed';
comment on view needed_references is 'Keys that must stay. A new kind of need is one more branch here.';

create view element_answers as
select e.*, (
    select json_agg(json_build_object('field', r.field, 'url', coalesce(r.url, ''), 'key', coalesce(r.key, ''),
                                      'width', coalesce(r.width, 0), 'height', coalesce(r.height, 0)) order by r.index)
    from element_references r where r.element = e.id
)::text as images
from elements e;
comment on view element_answers is 'An element with its pictures: what a client is told, and what the librarian works from.';

-- What tasks take along. The pictures are task_references too, counted on behind the task's own.

create table task_elements (
    task_id     uuid not null references tasks on delete cascade,
    index       smallint not null,
    name        text not null,
    description text not null,
    primary key (task_id, index)
);
alter table task_references add column element smallint;
comment on column task_references.element is 'the place in element_list whose picture it is; null: of image_list';

-- Callbacks of both kinds of tasks are one queue.

alter table callback_messages
    alter column task_id drop not null,
    add column element_task_id uuid references elements on delete cascade,
    add unique (element_task_id, sequence),
    add check (num_nonnulls(task_id, element_task_id) = 1);
