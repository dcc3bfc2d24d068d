-- $1 keys: those that were decoded to the end before
select key, width, height from stored_references where key = any ($1::text[]) and checked_at is not null;
