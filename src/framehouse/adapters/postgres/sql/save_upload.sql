-- Saves an upload. Returns the key of the upload's file. If the upload was already saved, the returned key belongs to
-- the earlier file. Returns no row if the account has too many uploads.
with saved as (
    insert into uploads (id, account_id, key, width, height)
    select :id::uuid, :account_id::bigint, :key::text, :width::integer, :height::integer
    where (select count(*) from uploads where account_id = :account_id) < :max_uploads
    on conflict (id) do nothing
    returning key
)
select key from saved
union all
select key from uploads where id = :id
limit 1;
