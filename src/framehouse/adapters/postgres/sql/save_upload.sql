-- Saves an upload. Returns the key of the file that the upload contains. If the upload was already saved, this is the
-- key of the earlier file.
with saved as (
    insert into uploads (id, account_id, key, width, height) values (:id, :account_id, :key, :width, :height)
    on conflict (id) do nothing
    returning key
)
select key from saved
union all
select key from uploads where id = :id
limit 1;
