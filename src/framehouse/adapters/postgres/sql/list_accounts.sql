-- Returns all accounts that are not deleted, sorted by name, each with the number of its active keys.
select a.*, (select count(*) from api_keys k where k.account_id = a.id and k.revoked_at is null) as keys
from accounts a
where a.deleted_at is null
order by a.name;
