"""Authentication by API keys and signed JWTs, and the limit on lookups of unknown keys."""

import asyncio
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from jwt.utils import base64url_encode

from framehouse.adapters.postgres import account_store
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api import authentication
from framehouse.entrypoints.api.authentication import KeyCache
from tests.support.api_server import PATH, Api


async def code(api: Api, header: str | None) -> int:
    """Send a request with this Authorization header, and return the code of the response."""
    answer = await api.anonymous.get(PATH, headers={"Authorization": header} if header is not None else {})
    assert answer.status_code == (200 if answer.json()["code"] == 0 else 401)
    return int(answer.json()["code"])


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, 1001), ("", 1001), ("Bearer", 1002), ("Basic abc", 1002), ("Bearer fh_unknown", 1002),
     ("Bearer nonsense", 1002), ("Bearer a.b.c", 1002), ("Bearer " + "x" * 9000, 1002), ("fh_key", 1002)],
)  # fmt: skip
async def test_invalid_authorization_headers_are_refused(api: Api, header: str | None, expected: int) -> None:
    assert await code(api, header) == expected


async def token(api: Api, *, secret: str | None = None, algorithm: str = "HS256", **claims: Any) -> str:
    account = await api.deployment.account()
    access_key, secret_key = await account_store.create_jwt_key(api.deployment.db, account["id"])
    now = int(time.time())
    payload = {"iss": access_key, "exp": now + 1800, "nbf": now - 5} | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    return "Bearer " + jwt.encode(payload, secret or secret_key, algorithm=algorithm, headers={"typ": "JWT"})


async def test_a_jwt_is_accepted_only_if_its_claims_and_signature_are_valid(api: Api) -> None:
    now = int(time.time())
    assert await code(api, await token(api)) == 0
    assert await code(api, await token(api, nbf=None)) == 0
    assert await code(api, await token(api, nbf=now + 30)) == 0, "a clock difference of one minute is allowed"
    assert await code(api, await token(api, nbf=now + 120)) == 1003
    assert await code(api, await token(api, exp=now - 1)) == 1004
    assert await code(api, await token(api, secret="x" * 40)) == 1000
    assert await code(api, await token(api, secret="x" * 70, algorithm="HS512")) == 1002
    assert await code(api, await token(api, iss="ak_unknown")) == 1002
    assert await code(api, await token(api, iss="a\0b")) == 1002
    assert await code(api, await token(api, exp=None)) == 1002
    assert await code(api, await token(api, exp="later")) == 1002
    assert await code(api, await token(api, exp=True)) == 1002
    assert await code(api, await token(api, exp=float("nan"))) == 1002
    assert await code(api, await token(api, exp=float("inf"))) == 1002
    assert await code(api, await token(api, exp=10**400)) == 1002
    assert await code(api, await token(api, iss="a\ud800")) == 1002


async def test_other_claims_of_a_jwt_are_ignored(api: Api) -> None:
    for value in (7, "x", ["x"], {"x": 1}, 1.5, True):
        claims: dict[str, Any] = dict.fromkeys(("sub", "aud", "iat", "jti", "scope"), value)
        assert await code(api, await token(api, **claims)) == 0


async def test_the_header_x_api_key_has_the_same_meaning(api: Api) -> None:
    key = api.alice.headers["Authorization"].removeprefix("Bearer ")
    for headers, expected in (
        ({"X-API-KEY": key}, 0),
        ({"X-API-KEY": (await token(api)).removeprefix("Bearer ")}, 0),
        ({"X-API-KEY": "fh_unknown"}, 1002),
        ({"X-API-KEY": ""}, 1001),
        ({"X-API-KEY": "fh_unknown", "Authorization": f"Bearer {key}"}, 0),
    ):
        assert (await api.anonymous.get(PATH, headers=headers)).json()["code"] == expected
    created = await api.anonymous.post(
        PATH, headers={"X-API-KEY": key}, json={"model_name": "kling-v3-omni", "prompt": "a fox"}
    )
    assert created.json()["code"] == 0


async def test_an_unsigned_jwt_is_refused(api: Api) -> None:
    unsigned = jwt.encode({"iss": "ak", "exp": time.time() + 60}, "", algorithm="none")
    assert await code(api, "Bearer " + unsigned) == 1002


async def test_a_revoked_key_is_refused_immediately(api: Api) -> None:
    account = await api.deployment.account()
    key = await account_store.create_key(api.deployment.db, account["id"])
    assert await code(api, f"Bearer {key}") == 0
    listed = await account_store.list_keys(api.deployment.db, account["id"])
    assert key not in str(listed)
    assert await account_store.revoke_key(api.deployment.db, listed[-1].id)
    assert await code(api, f"bearer {key}") == 1002
    stored = await api.deployment.db.rows("select * from api_keys")
    assert all(key not in str(dict(row)) for row in stored), "the database stores only the hash of the key"


async def test_a_cached_key_is_refused_after_it_is_revoked(api: Api) -> None:
    """Accepts and polls use cached keys, so their SQL statements must check whether the keys are still valid."""
    body = {"model_name": "kling-v3-omni", "prompt": "a fox"}
    created = (await api.alice.post("/kling/v1/images/omni-image", json=body)).json()
    task = created["data"]["task_id"]
    assert (await api.alice.get(f"/kling/v1/images/omni-image/{task}")).json()["code"] == 0
    account = await api.deployment.account()
    await account_store.set_account(
        api.deployment.db, account["name"], concurrency=None, units_limit=None, no_limit=False, disabled=True
    )
    assert (await api.alice.post("/kling/v1/images/omni-image", json=body)).json()["code"] == 1100
    assert (await api.alice.get(f"/kling/v1/images/omni-image/{task}")).json()["code"] == 1100
    await account_store.set_account(
        api.deployment.db, account["name"], concurrency=None, units_limit=None, no_limit=False, disabled=False
    )
    assert (await api.alice.get(f"/kling/v1/images/omni-image/{task}")).json()["code"] == 0
    await account_store.revoke_key(
        api.deployment.db, (await account_store.list_keys(api.deployment.db, account["id"]))[0].id
    )
    assert (await api.alice.get(f"/kling/v1/images/omni-image/{task}")).json()["code"] == 1002
    assert (await api.alice.post("/kling/v1/images/omni-image", json=body)).json()["code"] == 1002
    assert await api.deployment.db.value("select count(*) from tasks") == 1


async def test_lookups_of_unknown_keys_are_limited_and_do_not_delay_known_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    key_cache, lookups, max_lookups = KeyCache(), 0, 0
    done = asyncio.Event()

    async def find_alice() -> str:
        return "alice"

    async def find_nothing_slowly() -> None:
        nonlocal lookups, max_lookups
        lookups += 1
        max_lookups = max(max_lookups, lookups)
        await done.wait()
        lookups -= 1

    assert await key_cache.look_up("key", find_alice) == "alice"
    guesses = [asyncio.create_task(key_cache.look_up(f"guess {n}", find_nothing_slowly)) for n in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await asyncio.wait_for(key_cache.look_up("key", find_alice), 1) == "alice", "a known key does not wait"
    monkeypatch.setattr(authentication, "_NEW_KEY_WAIT_S", 0.01)
    with pytest.raises(Refused, match="temporarily unavailable") as refused:
        await key_cache.look_up("new", find_alice)
    assert (refused.value.code, refused.value.status) == (5001, 503)
    done.set()
    assert set(await asyncio.gather(*guesses)) == {None}
    assert 1 < max_lookups <= 4
    assert await key_cache.look_up("new", find_alice) == "alice"


async def test_a_revoked_key_is_removed_from_the_cache(api: Api) -> None:
    key_cache = KeyCache()
    key = api.alice.headers["authorization"].removeprefix("Bearer ")
    assert await key_cache.look_up(key, lambda: account_store.find_bearer(api.deployment.db, key))
    account = await api.deployment.account()
    await account_store.revoke_key(
        api.deployment.db, (await account_store.list_keys(api.deployment.db, account["id"]))[0].id
    )
    assert await key_cache.look_up(key, lambda: account_store.find_bearer(api.deployment.db, key)) is None
    assert not key_cache._cached


@pytest.mark.parametrize(
    ("claims", "headers"),
    [
        ({"sub": 1, "jti": [], "aud": {"a": 1}, "iat": "yesterday"}, {}),
        ({"nbf": None}, {}),
        ({}, {"kid": 7}),
        ({}, {"kid": None, "typ": 5, "cty": {}}),
    ],
)
async def test_unusual_claims_and_headers_of_a_jwt_are_ignored(
    api: Api, claims: dict[str, Any], headers: dict[str, Any]
) -> None:
    access_key, secret_key = await account_store.create_jwt_key(api.deployment.db, api.deployment.caller.account_id)

    def signed(secret: str) -> str:
        parts = ({"alg": "HS256"} | headers, {"iss": access_key, "exp": 2**33} | claims)
        text = b".".join(base64url_encode(json.dumps(part).encode()) for part in parts)
        return (text + b"." + base64url_encode(hmac.digest(secret.encode(), text, "sha256"))).decode()

    assert await code(api, f"Bearer {signed(secret_key)}") == 0
    assert await code(api, f"Bearer {signed('another secret')}") == 1000


async def test_a_jwt_with_a_critical_header_is_refused(api: Api) -> None:
    access_key, secret_key = await account_store.create_jwt_key(api.deployment.db, api.deployment.caller.account_id)
    payload = {"iss": access_key, "exp": 2**33}
    assert await code(api, "Bearer " + jwt.encode(payload, secret_key, headers={"crit": ["exp"], "exp": 1})) == 1002
