-- Saves an upload. A repeated upload replaces the file, because the client may notice that the first file is damaged.
-- Returns no row if the account is disabled, or if the upload is new and the account already has :max_uploads uploads.
insert into uploads (id, account_id, key, width, height)
select :id::uuid, :account_id::bigint, :key::text, :width::integer, :height::integer
from accounts a
where a.id = :account_id and not a.disabled
  and ((select count(*) from uploads where account_id = :account_id) < :max_uploads
       or exists (select from uploads where id = :id))
on conflict (id) do update set key = excluded.key, width = excluded.width, height = excluded.height
returning key;
