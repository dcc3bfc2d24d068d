-- Returns the uploads with these ids, and records that their files are used now. Only uploads of the account are
-- returned.
update stored_references s
set used_at = now()
from uploads u
where u.id = any (:ids::uuid[]) and u.account_id = :account_id and s.key = u.key
returning u.id, u.key, u.width, u.height;
