-- Returns the account's uploads with these ids, and records the current time as the last use of their files.
update stored_references s
set used_at = now()
from uploads u
where u.id = any (:ids::uuid[]) and u.account_id = :account_id and s.key = u.key
returning u.id, u.key, u.width, u.height;
