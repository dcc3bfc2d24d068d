-- Returns up to :limit failed tasks, newest first. A condition does not apply if its parameter is null. :reason is a
-- part of the error message. Cancelled tasks and tasks of deleted accounts are not returned. The column unfinished contains the indexes of the shots
-- without an image.
select t.id, a.name as account, t.model, t.resolution, t.result_type, t.status_message, t.ended_at,
       array(select s.index from shots s where s.task_id = t.id and s.painted_at is null order by s.index) as unfinished
from tasks t
join accounts a on a.id = t.account_id
where t.status = 'failed' and t.status_message <> :canceled and a.deleted_at is null
  and (:account::text is null or a.name = :account)
  and (:task_ids::uuid[] is null or t.id = any (:task_ids::uuid[]))
  and (:model::text is null or t.model = :model)
  and (:since::timestamptz is null or t.ended_at >= :since)
  and (:reason::text is null or position(lower(:reason) in lower(t.status_message)) > 0)
order by t.ended_at desc, t.id desc
limit :limit;
