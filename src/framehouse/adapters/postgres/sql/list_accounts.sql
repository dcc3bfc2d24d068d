-- Returns all accounts, sorted by name, each with the number of its active keys.
select a.*, (select count(*) from api_keys k where k.account_id = a.id and k.revoked_at is null) as keys
from accounts a
order by a.name;
