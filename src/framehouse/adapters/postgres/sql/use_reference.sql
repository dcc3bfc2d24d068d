-- $1 sha256, $2 the key to give it where the content is new. Says where the file is, or is to be written.
insert into stored_references as s (sha256, key)
values ($1, $2)
on conflict (sha256) do update set used_at = now()
returning s.key;
