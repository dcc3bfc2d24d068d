-- Accounts, keys, tasks, shots, batches. One database holds truth and queue: the row is the job.

create table settings (
    name  text primary key,
    value text not null
);
comment on table settings is 'What all processes must agree on, made once: the secret that signs image URLs.';

create table accounts (
    id               bigint generated always as identity primary key,
    name             text not null unique,
    disabled         boolean not null default false,
    concurrency      integer not null check (concurrency >= 0),
    images_in_flight integer not null default 0 check (images_in_flight >= 0),
    units_limit      bigint check (units_limit >= 0),
    units_reserved   bigint not null default 0 check (units_reserved >= 0),
    units_used       bigint not null default 0 check (units_used >= 0),
    callback_secret  text not null,
    created_at       timestamptz not null default now()
);
comment on column accounts.units_limit is 'null: no limit';

create table api_keys (
    id         bigint generated always as identity primary key,
    account_id bigint not null references accounts,
    prefix     text not null,
    hash       bytea unique,
    access_key text unique,
    secret_key text,
    models     text[],
    created_at timestamptz not null default now(),
    revoked_at timestamptz,
    check ((hash is null) = (access_key is not null and secret_key is not null))
);
comment on column api_keys.hash is 'SHA-256 of a bearer key; the key itself is kept nowhere';
comment on column api_keys.secret_key is 'in clear, because HS256 can only be checked with the secret itself';
comment on column api_keys.models is 'null: all';
create index api_keys_by_account on api_keys (account_id);

create table tasks (
    id               uuid primary key,
    account_id       bigint not null references accounts,
    external_task_id text,
    status           text not null default 'submitted' check (status in ('submitted', 'processing', 'succeed', 'failed')),
    status_message   text not null default '',
    model            text not null,
    prompt           text not null,
    elements         bigint[] not null,
    result_type      text not null,
    image_count      smallint not null check (image_count between 1 and 9),
    images_done      smallint not null default 0 check (images_done between 0 and image_count),
    resolution       text not null,
    ratio            text not null,
    watermark        boolean not null,
    callback_url     text,
    owner            integer,
    units_reserved   bigint not null,
    units_charged    bigint not null default 0,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    ended_at         timestamptz,
    expires_at       timestamptz,
    expired_at       timestamptz,
    unique (account_id, external_task_id)
);
comment on column tasks.owner is 'the advisory lock of the command that alone waits for this task; null: a client of the API';
comment on column tasks.expires_at is 'when the pictures may be removed; expired_at: when they were';
create index tasks_by_account on tasks (account_id, created_at desc, id desc);
create index tasks_owned on tasks (owner) where owner is not null and status in ('submitted', 'processing');
create index tasks_to_expire on tasks (expires_at) where expired_at is null and expires_at is not null;

create table idempotency_keys (
    account_id bigint not null references accounts,
    key        text not null,
    body_hash  bytea not null,
    task_id    uuid not null,
    created_at timestamptz not null default now(),
    primary key (account_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

create table task_references (
    task_id uuid not null references tasks on delete cascade,
    index   smallint not null,
    url     text,
    key     text,
    width   integer,
    height  integer,
    primary key (task_id, index),
    check (url is not null or key is not null)
);
comment on column task_references.key is 'where it is stored; null until a worker has fetched the URL';

create table shots (
    task_id       uuid not null references tasks on delete cascade,
    index         smallint not null,
    prompt        text not null,
    framing       text not null,
    seed          bigint not null,
    painted_at    timestamptz,
    engine        text,
    key           text,
    watermark_key text,
    media_type    text,
    width         integer,
    height        integer,
    primary key (task_id, index)
);

create table batches (
    id           bigint generated always as identity primary key,
    task_id      uuid not null references tasks on delete cascade,
    model        text not null,
    shot_indexes smallint[] not null,
    run_at       timestamptz not null default now(),
    lease_until  timestamptz,
    claim        uuid,
    worker       integer,
    attempt      smallint not null default 0,
    progress     real not null default 0,
    last_error   text,
    failing_since timestamptz
);
comment on table batches is 'What one engine call makes. The row is the job; it is gone when its shots are made or its task has ended.';
comment on column batches.worker is 'the advisory lock that the claiming worker holds for as long as it lives';
create index batches_due on batches (run_at, id) where claim is null;
create index batches_claimed on batches (lease_until) where claim is not null;
create index batches_by_task on batches (task_id);

create view task_answers as
select t.*,
       -- what is made, and of the batches at work what is more than made
       least(1, (t.images_done + coalesce((
           select sum(greatest(0, b.progress * cardinality(b.shot_indexes) - (
               select count(*) from shots s
               where s.task_id = b.task_id and s.index = any (b.shot_indexes) and s.painted_at is not null
           ))) from batches b where b.task_id = t.id
       ), 0)) / t.image_count)::float8 as progress,
       (select json_agg(json_build_object('index', s.index, 'key', s.key, 'watermark_key', coalesce(s.watermark_key, ''),
                                          'media_type', s.media_type, 'width', s.width, 'height', s.height)
                        order by s.index)
        from shots s where s.task_id = t.id and s.painted_at is not null)::text as pictures
from tasks t;
comment on view task_answers is 'A task with its pictures and progress: what a client is told.';
