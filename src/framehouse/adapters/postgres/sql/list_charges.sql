-- Returns the charges of an account, or of all accounts if :account_id is null, newest first. Only charges with an id
-- below :before, and with a time from :since up to but not including :until, are returned. If :keys is not null, only
-- charges of API keys with one of these prefixes are returned.
select c.*, a.name as account, coalesce(k.prefix, '') as key
from charges c
join accounts a on a.id = c.account_id
left join api_keys k on k.id = c.key_id
where (:account_id::bigint is null or c.account_id = :account_id)
  and c.id < :before
  and c.charged_at >= :since and c.charged_at < :until
  and (:keys::text[] is null or k.prefix = any (:keys))
order by c.id desc
limit :limit;
