"""The advice for callback messages that were not delivered."""

import pytest

from framehouse.domain.delivery_advice import delivery_advice
from framehouse.domain.fetch_problems import PRIVATE_ADDRESS, UNKNOWN_HOST, UNREACHABLE


@pytest.mark.parametrize(
    ("reason", "code", "advice"),
    [
        (f"the URL {PRIVATE_ADDRESS}", None, "FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1"),
        (f"the URL {UNKNOWN_HOST}", None, "host name"),
        (f"the URL {UNREACHABLE}: ConnectError", None, "receiver is running"),
        ("the URL has a TLS certificate that has expired", None, "certificate"),
        ("did not respond within 10 s", None, "within 10 seconds"),
        ("the URL did not respond for 10 s", None, "within 10 seconds"),
        ("HTTP 302: redirects are not followed", 302, "redirects"),
        ("HTTP 400", 400, "callback secret"),
        ("HTTP 403", 403, "signature"),
        ("HTTP 404", 404, "path"),
        ("HTTP 405", 405, "POST"),
        ("the receiver is gone", 410, "resend"),
        ("HTTP 503", 503, "log"),
    ],
)
def test_each_failure_has_advice(reason: str, code: int | None, advice: str) -> None:
    assert advice in delivery_advice(reason, code)


@pytest.mark.parametrize(("reason", "code"), [("", None), ("", 200), ("HTTP 418", 418), ("internal error", None)])
def test_other_messages_have_no_advice(reason: str, code: int | None) -> None:
    assert delivery_advice(reason, code) == ""
