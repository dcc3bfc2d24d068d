-- Returns up to :limit entries of the audit log, newest first. A condition does not apply if its parameter is null.
select id, changed_at, actor, action, subject, details::text as details
from audit_log
where (:before::bigint is null or id < :before) and (:since::timestamptz is null or changed_at >= :since)
  and (:action::text is null or action = :action or starts_with(action, :action || '.'))
  and (:subject::text is null or subject = :subject)
order by id desc
limit :limit;
