-- Returns the storage key of a content, and records that the content is used now. If the content is new, its key is
-- :key.
insert into stored_references as s (sha256, key)
values (:sha256, :key)
on conflict (sha256) do update set used_at = now()
returning s.key;
