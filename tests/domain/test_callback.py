"""Signatures of callbacks, message ids, and the pauses between attempts."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from framehouse.domain.callback import BROKEN_PAUSE_S, longest_pauses_s, message_id, pause_s, signature

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
BODY = b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'


def test_the_signature_equals_the_example_in_the_contract() -> None:
    expected = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
    assert signature([SECRET], "9876543210", 1781080794, BODY) == expected


def test_the_package_standardwebhooks_accepts_the_signature() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    stamp = int(now.timestamp())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(stamp)}
    headers["webhook-signature"] = signature([SECRET, "whsec_b3RoZXI="], "msg_1", stamp, BODY)
    assert Webhook(SECRET).verify(BODY, headers)
    assert Webhook(SECRET).sign("msg_1", now, BODY.decode()) == headers["webhook-signature"].split()[0]


def test_a_message_id_is_a_prefix_and_hexadecimal_digits() -> None:
    assert message_id(UUID(int=5)) == "msg_" + "0" * 31 + "5"


@pytest.mark.parametrize(("attempt", "least"), [(1, 1), (2, 2), (5, 16), (13, 3600), (10**6, 3600)])
def test_pauses_grow_to_an_hour(attempt: int, least: float) -> None:
    assert pause_s(attempt, 0, 0) == least
    assert least < pause_s(attempt, 0, 1) <= least * 1.5


def test_the_receiver_may_request_a_longer_pause() -> None:
    assert pause_s(1, 120, 0.5) == 120
    assert pause_s(1, 10**9, 0.5) == 24 * 3600


def test_longest_pauses_are_upper_bounds_of_all_pauses() -> None:
    """A longer pause would make the database conclude that its clock has jumped."""
    longest = longest_pauses_s()
    for attempt in range(1, 40):
        assert max(pause_s(attempt, 0, 1), BROKEN_PAUSE_S) == longest[min(attempt, len(longest)) - 1]
