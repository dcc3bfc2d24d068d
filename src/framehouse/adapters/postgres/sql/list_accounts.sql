-- Returns all accounts, sorted by name, and the number of active keys of each account.
select a.*, (select count(*) from api_keys k where k.account_id = a.id and k.revoked_at is null) as keys
from accounts a
order by a.name;
