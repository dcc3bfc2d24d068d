-- Claims up to 100 batches that have waited longer than :waited for one of the unserved :routes of :model. The calling
-- code then fails the batches. The claim is not counted as an attempt. If :open_orders is true, batches that have an
-- open order are included. If :task_id is not null, only batches of that task are claimed.
with due as (
    select id
    from batches
    where claim is null and model = :model and route = any (:routes::text[]) and run_at < now() - :waited::interval
      and (:open_orders or not exists (select from jsonb_each(notes) n where n.value ? 'note')) and (:task_id::uuid is null or task_id = :task_id)
    order by id
    for update skip locked
    limit 100
)
update batches b
set claim = :claim, worker = null, lease_until = now() + :lease::interval
from due
where b.id = due.id
returning b.id, b.task_id;
