-- Images that clients upload before they use them as references. The files are stored references.

create table uploads (
    id         uuid primary key,
    account_id bigint not null references accounts,
    key        text not null,
    width      integer not null,
    height     integer not null,
    created_at timestamptz not null default now()
);
create index uploads_by_age on uploads (created_at);
create index uploads_by_account on uploads (account_id);
create index uploads_by_key on uploads (key);

create or replace view needed_references as
select r.key
from task_references r
join tasks t on t.id = r.task_id
where r.key is not null and t.status in ('submitted', 'processing')
union all
select r.key
from element_references r
join elements e on e.id = r.element
where r.key is not null and e.status <> 'failed'
union all
select key from uploads;
