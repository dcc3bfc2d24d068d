-- $1 task of the element, $2 claim, $3 how long from now, $4 what went wrong or null, $5 whether the attempt counts
update elements
set claim = null, lease_until = null, run_at = now() + $3, last_error = coalesce($4, last_error),
    attempt = attempt - case when $5 then 0 else 1 end
where id = $1 and claim = $2 and status = 'processing';
