"""Verify the callbacks of Framehouse, which are signed as Standard Webhooks (https://www.standardwebhooks.com)."""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Iterable, Mapping

from framehouse_client.errors import InvalidSignature
from framehouse_client.task_data import TaskData, parse_task


def verify_webhook(
    body: bytes | str, headers: Mapping[str, str], secret: str | Iterable[str], *, tolerance_s: float = 300
) -> TaskData:
    """Verify the signature of a callback, and return the task that the callback describes.

    `body` is the body of the request, byte for byte. `headers` are the headers of the request, in any case. `secret` is
    the callback secret of the account (`whsec_…`), or several secrets while you change the secret. A message that was
    sent more than `tolerance_s` seconds ago is refused, because an attacker could send an old message again.

    The same message can arrive twice: `webhook-id` is then the same. Raises InvalidSignature if no secret matches, and
    ValueError if a secret is not valid.
    """
    content = body.encode() if isinstance(body, str) else body
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp, signatures = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise InvalidSignature(f"the header {error.args[0]} is missing") from None
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(time.time() - int(timestamp)) > tolerance_s:
        raise InvalidSignature("the message is too old, or the clocks of the sender and this machine differ")
    signed = f"{id}.{timestamp}.".encode() + content
    expected = [
        b"v1," + base64.b64encode(hmac.digest(_key(value), signed, "sha256"))
        for value in ([secret] if isinstance(secret, str) else secret)
    ]
    received = [signature.encode() for signature in signatures.split()]
    # every pair is compared, so that the time does not show which signature is right
    if not sum(hmac.compare_digest(one, other) for one in expected for other in received):
        raise InvalidSignature("the signature does not match the message and the secret")
    try:
        data = json.loads(content)
        task = parse_task(data) if isinstance(data, dict) else None
    except (ValueError, RecursionError):
        task = None
    if task is None:
        raise InvalidSignature("the message has a valid signature, but describes no task")
    return task


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("a callback secret consists of whsec_ and base64")
    return key
