"""The rules of pauses, credentials and webhooks, without a server and without waiting."""

import json
import pickle
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import jwt
import pytest
from standardwebhooks import Webhook

from framehouse_client import (
    Client,
    ConnectionFailed,
    FramehouseError,
    InvalidSignature,
    RateLimited,
    ServerError,
    TaskFailed,
    TaskMayExist,
    verify_webhook,
)
from framehouse_client.connection import Connection, open_connection, sign_jwt
from framehouse_client.creating import create_task
from framehouse_client.effects import NoResponse, Request, Response, Sleep, Steps
from framehouse_client.exchange import get
from framehouse_client.task_request import create_request

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBhY2NvdW50"
OTHER = "whsec_" + "YW5vdGhlciBzZWNyZXQgb2YgaXQ="


class Clock:
    """A clock that only pauses move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def run(self, steps: Steps[object], answers: Sequence[Response | NoResponse]) -> tuple[list[float], list[Request]]:
        """Run steps with these answers, the last of which is repeated. Returns the pauses and the requests."""
        pauses: list[float] = []
        requests: list[Request] = []
        result: Response | NoResponse | None = None
        while True:
            try:
                effect = steps.send(result)
            except StopIteration:
                return pauses, requests
            result = None
            match effect:
                case Request():
                    requests.append(effect)
                    result = answers[min(len(requests), len(answers)) - 1]
                case Sleep(seconds):
                    pauses.append(seconds)
                    self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


OK = Response(200, {}, b'{"code": 0, "data": {}}')
BUSY = Response(503, {}, b'{"code": 5001, "message": "busy"}')


def connection(**options: float) -> Connection:
    return Connection("http://a.b/kling", key="k", reached=True, **{"retry_s": 120.0, **options})  # type: ignore[arg-type]


def test_pauses_grow_and_have_jitter(clock: Clock) -> None:
    pauses, _ = clock.run(get(connection(), "/x"), [BUSY] * 7 + [OK])
    longest = [0.5, 1, 2, 4, 8, 10, 10]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    others, _ = clock.run(get(connection(), "/x"), [BUSY] * 7 + [OK])
    assert pauses != others


def test_retries_end_after_the_limit(clock: Clock) -> None:
    with pytest.raises(ServerError, match="busy"):
        clock.run(get(connection(retry_s=60.0), "/x"), [BUSY])
    assert 40 < clock.now <= 60


def test_an_outage_may_begin_late(clock: Clock) -> None:
    """The limit counts from the first failure, not from the beginning of the request."""
    clock.now = 1000.0
    pauses, _ = clock.run(get(connection(retry_s=5.0), "/x"), [BUSY, OK])
    assert len(pauses) == 1


def test_retry_after_lengthens_a_pause(clock: Clock) -> None:
    limited = Response(429, {"retry-after": "17"}, b'{"code": 1302, "message": "limit"}')
    pauses, _ = clock.run(get(connection(), "/x"), [limited, OK])
    assert pauses == [17.0]
    late = Response(429, {"retry-after": "3600"}, b'{"code": 1302, "message": "limit"}')
    with pytest.raises(RateLimited) as caught:
        clock.run(get(connection(), "/x"), [late])
    assert caught.value.retry_after_s == 3600


def test_a_deadline_ends_the_retries_exactly(clock: Clock) -> None:
    with pytest.raises(ServerError):
        clock.run(get(connection(), "/x", until=30.0), [BUSY])
    assert clock.now == 30.0


def test_a_wrong_url_is_reported_soon(clock: Clock) -> None:
    new = Connection("http://a.b/kling", key="k")
    with pytest.raises(ConnectionFailed, match=r"cannot reach http://a\.b/kling: refused"):
        clock.run(get(new, "/x"), [NoResponse("refused", sent=False)])
    assert clock.now < 2
    with pytest.raises(ConnectionFailed):
        clock.run(get(connection(), "/x"), [NoResponse("refused", sent=False)])
    assert clock.now > 60


def test_a_server_that_restarts_during_the_first_request_is_waited_for(clock: Clock) -> None:
    task = b'{"code": 0, "data": {"task_id": "t", "task_status": "submitted"}}'
    lost, refused = NoResponse("reset", sent=True), NoResponse("refused", sent=False)
    new = Connection("http://a.b/kling", key="k")
    _, requests = clock.run(create_task(new, create_request("a fox")), [lost, *[refused] * 8, Response(200, {}, task)])
    assert [request.method for request in requests] == ["POST"] + ["GET"] * 9
    assert clock.now > 10


@pytest.mark.parametrize("body", [b'{"code": 1102, "message": "units"}', b'{"code": 1201, "message": "n is wrong"}'])
def test_final_errors_are_not_retried(clock: Clock, body: bytes) -> None:
    with pytest.raises(Exception, match=r"units|wrong"):
        clock.run(get(connection(), "/x"), [Response(429, {}, body)])
    assert clock.now == 0


def test_redirects_of_the_api_are_not_followed(clock: Clock) -> None:
    """The key would otherwise be sent to another host."""
    with pytest.raises(ServerError, match="redirects to https://elsewhere"):
        clock.run(get(connection(), "/x"), [Response(301, {"location": "https://elsewhere"}, b"")])


def test_a_jwt_is_kling_s_and_is_renewed_before_it_expires() -> None:
    signed = Connection("http://a.b", access_key="ak", secret_key="s" * 32)
    first = signed.headers(1_000_000.0)["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(first, "s" * 32, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})
    assert claims == {"iss": "ak", "exp": 1_001_800, "nbf": 999_995}
    assert jwt.get_unverified_header(first) == {"alg": "HS256", "typ": "JWT"}
    assert first == sign_jwt("ak", "s" * 32, 1_000_000.0)
    assert signed.headers(1_001_400.0)["Authorization"].endswith(first)
    renewed = signed.headers(1_001_501.0)["Authorization"].removeprefix("Bearer ")
    assert jwt.decode(renewed, options={"verify_signature": False})["exp"] == 1_003_301


def test_the_environment_replaces_missing_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEHOUSE_URL", "http://from.env")
    monkeypatch.setenv("FRAMEHOUSE_KEY", "fh_env")
    assert open_connection(None, None, None, None, 1).headers() == {"Authorization": "Bearer fh_env"}
    assert open_connection("http://a.b", "fh_own", None, None, 1).key == "fh_own"
    assert open_connection(None, None, "ak", "sk", 1).key == "", "the access key replaces FRAMEHOUSE_KEY"
    for key, access_key, secret_key in ((None, "ak", None), ("fh_a", "ak", "sk"), ("é", None, None)):
        with pytest.raises(ValueError, match="key"):
            open_connection(None, key, access_key, secret_key, 1)
    monkeypatch.delenv("FRAMEHOUSE_KEY")
    with pytest.raises(ValueError, match="FRAMEHOUSE_KEY"):
        Client()
    monkeypatch.delenv("FRAMEHOUSE_URL")
    with pytest.raises(ValueError, match="FRAMEHOUSE_URL"):
        Client()


def test_no_representation_contains_a_secret() -> None:
    opened = open_connection("http://a.b", None, "ak", "sk-secret", 1)
    opened.headers()
    assert "secret" not in repr(opened)
    with Client("http://a.b", "fh_secret") as client:
        assert "secret" not in f"{client!r} {client._connection!r}"


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("m", code=1303, status=429, request_id="r"),
        TaskFailed("m", task_id="t"),
        TaskMayExist("m", external_task_id="e"),
    ],
)
def test_errors_survive_pickling(error: FramehouseError) -> None:
    """Task queues such as Celery pickle errors."""
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_an_idempotency_key_must_fit_into_a_header() -> None:
    for key in ("é", "a\nb"):
        with pytest.raises(ValueError, match="idempotency_key"):
            create_request("x", options={"idempotency_key": key})


def webhook(body: bytes, secret: str = SECRET, *, age_s: float = 0) -> dict[str, str]:
    moment = datetime.fromtimestamp(time.time() - age_s, UTC)
    signature = Webhook(secret).sign("msg_1", moment, body.decode())
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(moment.timestamp())), "Webhook-Signature": signature}


BODY = json.dumps(
    {"task_id": "t", "task_status": "succeed", "task_result": {"images": [{"index": 0, "url": "http://a.b/c"}]}}
).encode()


def test_a_webhook_is_verified_and_parsed() -> None:
    task = verify_webhook(BODY, webhook(BODY), SECRET)
    assert (task.id, task.status, task.images[0].url) == ("t", "succeed", "http://a.b/c")
    assert verify_webhook(BODY.decode(), webhook(BODY), [OTHER, SECRET]) == task
    both = webhook(BODY) | {"Webhook-Signature": f"v1a,AAAA {webhook(BODY, OTHER)['Webhook-Signature']}"}
    assert verify_webhook(BODY, both, [OTHER]) == task


@pytest.mark.parametrize("age_s", [400, -400])
def test_an_old_webhook_is_refused(age_s: float) -> None:
    with pytest.raises(InvalidSignature, match="too old"):
        verify_webhook(BODY, webhook(BODY, age_s=age_s), SECRET)
    assert verify_webhook(BODY, webhook(BODY, age_s=age_s), SECRET, tolerance_s=500).id == "t"


@pytest.mark.parametrize(
    "change",
    [
        {"Webhook-Signature": ""},
        {"Webhook-Signature": "v1,é"},
        {"Webhook-Id": "msg_2"},
        {"Webhook-Timestamp": "²"},
        {"Webhook-Timestamp": "-1"},
    ],
)
def test_a_changed_webhook_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidSignature):
        verify_webhook(BODY, webhook(BODY) | change, SECRET)
    with pytest.raises(InvalidSignature):
        verify_webhook(BODY + b" ", webhook(BODY), SECRET)
    with pytest.raises(InvalidSignature, match="does not match"):
        verify_webhook(BODY, webhook(BODY), [OTHER])
    with pytest.raises(InvalidSignature, match="webhook-id is missing"):
        verify_webhook(BODY, {}, SECRET)
    with pytest.raises(ValueError, match="whsec_"):
        verify_webhook(BODY, webhook(BODY), "whsec_")
    with pytest.raises(InvalidSignature, match="no task"):
        verify_webhook(b"[]", webhook(b"[]"), SECRET)
