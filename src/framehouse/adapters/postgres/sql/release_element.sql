-- Releases a claimed element. If :error is null, the last error does not change.
update elements
set claim = null, lease_until = null, run_at = now() + :after, last_error = coalesce(:error, last_error),
    attempt = attempt - case when :count_attempt then 0 else 1 end
where id = :task_id and claim = :claim and status = 'processing';
