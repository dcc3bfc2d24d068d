-- Returns the storage key of this content: :key if the content is new.
insert into stored_references as s (sha256, key)
values (:sha256, :key)
on conflict (sha256) do update set used_at = now()
returning s.key;
