-- Deletes the row of a deleted account, if nothing else refers to the account.
delete from accounts a
where a.id = :account_id and a.deleted_at is not null
  and not exists (select from tasks x where x.account_id = a.id)
  and not exists (select from elements x where x.account_id = a.id)
  and not exists (select from uploads x where x.account_id = a.id)
  and not exists (select from idempotency_keys x where x.account_id = a.id)
  and not exists (select from taken_ids x where x.account_id = a.id)
  and not exists (select from charges x where x.account_id = a.id)
  and not exists (select from sign_in_codes x where x.account_id = a.id)
  and not exists (select from api_keys x where x.account_id = a.id)
returning 1;
