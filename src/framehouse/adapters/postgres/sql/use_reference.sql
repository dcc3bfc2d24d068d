-- Returns the storage key of the stored reference with this hash, and records the current time as its last use. If no
-- reference has this hash, a row with the key :key is added.
insert into stored_references as s (sha256, key)
values (:sha256, :key)
on conflict (sha256) do update set used_at = now()
returning s.key;
