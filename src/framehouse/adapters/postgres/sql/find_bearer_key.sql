select k.id as key_id, k.hash, k.models, k.account_id, a.name, a.disabled
from api_keys k join accounts a on a.id = k.account_id
where k.hash = :hash and k.revoked_at is null;
