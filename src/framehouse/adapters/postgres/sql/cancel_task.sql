-- Cancels a task (see the function cancel_task). If :actor is not null, the change is recorded in the audit log.
with canceled as materialized (
    select cancel_task(:task_id::uuid, :account_id, :message, :retention) as ended
), audited as (
    insert into audit_log (actor, action, subject)
    select :actor::text, 'task.cancel', :task_id::uuid::text from canceled where ended and :actor::text is not null
)
select ended from canceled;
