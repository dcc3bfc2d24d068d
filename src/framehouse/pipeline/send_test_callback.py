"""Send a test callback, so that the owner of a receiver can test it without a task."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.callback import message_id
from framehouse.domain.delivery_advice import delivery_advice
from framehouse.domain.example_task import make_test_message
from framehouse.domain.signed_urls import Links
from framehouse.pipeline.deliver_callback import send_signed


@dataclass(frozen=True, slots=True)
class TestCallbackResult:
    """The result of a test callback.

    `id` is the `webhook-id` header of the message. `code` is the HTTP status code of the response, or None if there was
    no response. `reason` is the reason of a failure, or empty if the receiver accepted the message.
    """

    id: str
    code: int | None
    reason: str
    seconds: float

    @property
    def advice(self) -> str:
        return delivery_advice(self.reason, self.code)

    @property
    def data(self) -> dict[str, Any]:
        """The result as a JSON object. The object contains no text that the receiver sent."""
        return {
            "id": self.id,
            "delivered": not self.reason,
            "status": self.code,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
            "advice": self.advice,
        }


async def send_test_callback(
    db: Database, account_id: int, url: str, links: Links, *, allow_private: bool
) -> TestCallbackResult:
    """Send one test message to a URL, with the signature, the limits and the address rules of a real callback.

    The message is not stored and not repeated.
    """
    secrets = await account_store.valid_secrets(db, account_id)
    id, started = uuid4(), time.monotonic()
    sent = await send_signed(
        url,
        make_test_message(datetime.now(UTC), links),
        id=id,
        secrets=secrets,
        allow_private=allow_private,
        account_id=account_id,
    )
    return TestCallbackResult(message_id(id), sent.code, sent.reason, time.monotonic() - started)
