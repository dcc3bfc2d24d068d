"""Classify the responses of the Images API.

NotAccepted      the request was clearly refused; it may be sent to another server
OutcomeUnknown   the server may have accepted the request, so the engine never sends the request again
Declined         the server refuses the content
Broken           the response is invalid, or reports that the request is invalid
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pybase64
from numpy.typing import NDArray
from pydantic_core import from_json

from framehouse.domain.errors import Broken, Declined
from framehouse.engines.image_files import Png, read_answer
from framehouse.engines.server_requests import (
    KEY_COOLDOWN_S,
    NotAccepted,
    OutcomeUnknown,
    Reply,
    one_line,
    retry_after_s,
)

_POLICY_CODES = {"moderation_blocked", "content_policy_violation", "content_filter"}
_POLICY = re.compile(
    r"content[ _](?:policy|filter)|policy violation|moderation[ _]blocked|safety (?:system|checker|filter)|\bnsfw\b",
    re.IGNORECASE,
)
_BUSY = re.compile(r"overloaded|loading|not ready|try again later|retry later|capacity|too many", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReturnedImage:
    """An image from the server. `prompt` is the prompt that the server used, or empty if it is not reported."""

    image: NDArray[np.uint8] | Png
    prompt: str = ""


def error_from_reply(reply: Reply, *, paid: bool) -> Exception:
    """Return the exception for a response whose status is not 200.

    `paid` is true if the request costs money. If `paid` is false, status 503 always means that the server refused the
    request. If `paid` is true, status 503 means a refusal only if the response has a Retry-After header, or if its
    message states that the server is overloaded or still loading.
    """
    message, code = error_details(reply.body)
    status = f"HTTP {reply.status}" + (f": {message}" if message else "")
    wait_s = retry_after_s(reply.headers)
    if reply.status in (400, 403, 422) and (code in _POLICY_CODES or _POLICY.search(message)):
        return Declined(message or "the model server declined the prompt")
    if reply.status in (401, 402, 403):
        return NotAccepted(f"does not accept the api_key (HTTP {reply.status})", cooldown_s=KEY_COOLDOWN_S)
    if reply.status == 429:
        used_up = "insufficient_quota" in code
        return NotAccepted(
            "reports that its quota is used up" if used_up else "is busy (HTTP 429)",
            cooldown_s=KEY_COOLDOWN_S if used_up else wait_s,
        )
    if reply.status == 503 and (not paid or wait_s or _BUSY.search(message)):
        return NotAccepted("is busy or still loading (HTTP 503)", cooldown_s=wait_s)
    if 300 <= reply.status < 400:
        return NotAccepted("responds with a redirect, which is not followed; set base_urls to the redirect's target")
    if reply.status >= 500 or reply.status in (408, 409, 425) or reply.status < 300:
        return OutcomeUnknown(f"returned {status}")
    return Broken(f"the model server returned {status}")


def error_details(body: bytes) -> tuple[str, str]:
    """Return the message and the code in the body of an error response.

    The message is a single line of at most 300 characters. A missing message or code is returned as an empty string.
    This function supports the formats of OpenAI (`error`) and FastAPI (`detail`, including a list of invalid fields),
    and a plain `message`.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error = answer.get("error") or answer.get("detail") or answer.get("message") or ""
    if isinstance(error, dict):
        return one_line(str(error.get("message", ""))), str(error.get("code") or error.get("type") or "")
    if isinstance(error, list):
        fields = [field for field in error if isinstance(field, dict)]
        error = "; ".join(f"{'.'.join(map(str, field.get('loc', ())))}: {field.get('msg', '')}" for field in fields)
    return one_line(str(error)), ""


def decode_images(body: bytes, count: int) -> Sequence[ReturnedImage]:
    """Return the images in a response with status 200, in order. Blocks the calling thread.

    Raises Broken unless the response contains exactly `count` images and each image can be decoded.
    """
    try:
        data = from_json(body)["data"]  # from_json parses base64 images ten times as fast as the json module
        items = [(item.get("b64_json"), item.get("revised_prompt"), item.get("url")) for item in data]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise Broken("the model server's response does not have the format of the Images API") from error
    if len(items) != count:
        raise Broken(f"the model server returned {len(items)} images instead of {count}")
    decoded = []
    for content, prompt, url in items:
        if not isinstance(content, str) or not content:
            raise Broken(f"the model server returned {'a URL instead of an image' if url else 'no image'}")
        try:
            file = pybase64.b64decode(content, validate=True)
        except ValueError as error:
            raise Broken("the model server returned an image that is not valid base64") from error
        decoded.append(ReturnedImage(read_answer(file), prompt if isinstance(prompt, str) else ""))
    return decoded
