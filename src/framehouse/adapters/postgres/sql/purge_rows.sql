-- Deletes up to :limit rows of each table that contains data of an account, except the tables of its tasks. Returns the
-- number of deleted rows.
with deleted_elements as (
    delete from elements where ctid = any (array(select ctid from elements where account_id = :account_id limit :limit)) returning 1
), deleted_uploads as (
    delete from uploads where ctid = any (array(select ctid from uploads where account_id = :account_id limit :limit)) returning 1
), deleted_idempotency_keys as (
    delete from idempotency_keys where ctid = any (array(select ctid from idempotency_keys where account_id = :account_id limit :limit)) returning 1
), deleted_taken_ids as (
    delete from taken_ids where ctid = any (array(select ctid from taken_ids where account_id = :account_id limit :limit)) returning 1
), deleted_charges as (
    delete from charges where ctid = any (array(select ctid from charges where account_id = :account_id limit :limit)) returning 1
), deleted_account_turns as (
    delete from account_turns where ctid = any (array(select ctid from account_turns where account_id = :account_id limit :limit)) returning 1
), deleted_sign_in_codes as (
    delete from sign_in_codes where ctid = any (array(select ctid from sign_in_codes where account_id = :account_id limit :limit)) returning 1
), deleted_api_keys as (
    delete from api_keys where ctid = any (array(select ctid from api_keys where account_id = :account_id limit :limit)) returning 1
)
select (select count(*) from deleted_elements)
     + (select count(*) from deleted_uploads)
     + (select count(*) from deleted_idempotency_keys)
     + (select count(*) from deleted_taken_ids)
     + (select count(*) from deleted_charges)
     + (select count(*) from deleted_account_turns)
     + (select count(*) from deleted_sign_in_codes)
     + (select count(*) from deleted_api_keys);
