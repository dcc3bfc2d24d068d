-- $1 claim, $2 lease, $3 model, $4 routes that nobody serves, $5 how long it must have waited, $6 whether also what has something
-- under way, $7 only this task, or null. Taken in order to end it: not an attempt.
with due as (
    select id
    from batches
    where claim is null and model = $3 and route = any ($4::text[]) and run_at < now() - $5::interval
      and ($6 or not exists (select from jsonb_each(notes) n where n.value ? 'note')) and ($7::uuid is null or task_id = $7)
    order by id
    for update skip locked
    limit 100
)
update batches b
set claim = $1, worker = null, lease_until = now() + $2::interval
from due
where b.id = due.id
returning b.id, b.task_id;
