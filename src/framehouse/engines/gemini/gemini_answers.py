"""Classify a response of the Gemini API, and decode its image.

The errors never quote the prompt, the text that the model wrote, or the key.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pybase64
from numpy.typing import NDArray
from pydantic_core import from_json

from framehouse.domain.errors import Broken, Declined
from framehouse.engines.error_replies import KEY_COOLDOWN_S, ErrorDetails, error_details, error_from_details
from framehouse.engines.http_exchange import NotAccepted, Reply, one_line
from framehouse.engines.image_files import ImageFile, read_answer
from framehouse.engines.token_prices import Tokens, token_count

_MAX_WAIT_S = 3600.0
_REFUSALS = {
    "SAFETY": "the content violates the safety rules",
    "IMAGE_SAFETY": "the image violates the safety rules",
    "PROHIBITED_CONTENT": "the content is prohibited",
    "IMAGE_PROHIBITED_CONTENT": "the image is prohibited",
    "BLOCKLIST": "the prompt contains a blocked term",
    "SPII": "the content contains sensitive personal data",
    "RECITATION": "the content is too similar to protected content",
    "IMAGE_RECITATION": "the image is too similar to protected content",
    "LANGUAGE": "the language of the prompt is not supported",
    "NO_IMAGE": "the model answered without an image",
    "OTHER": "the service gives no reason",
}
"""The reasons for which the service returns no image. The same reasons apply to a prompt and to an image."""
_NAME = re.compile(r"[A-Z][A-Z_]{0,49}")
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


@dataclass(frozen=True, slots=True)
class GeminiImage:
    """An image of the Gemini API. `model` is the model that generated it, and `total_tokens` the number of all tokens.

    `model` is empty and `total_tokens` is 0 if the response does not contain this information. `tokens` contains the
    tokens by type, or is None if they are not known.
    """

    image: NDArray[np.uint8] | ImageFile
    model: str
    total_tokens: int
    tokens: Tokens | None


def read_image(body: bytes, hidden: Iterable[str]) -> GeminiImage:
    """Return the image in a response with status 200. Blocks the calling thread.

    The parts of the response that contain thoughts are ignored. If there are several images, the last image is
    returned, because earlier images are drafts. The texts in `hidden` are removed from error messages. Raises Declined
    if the service refuses to generate the image, or Broken if the response contains no valid image.
    """
    try:
        answer = from_json(body)  # from_json parses base64 images ten times as fast as the json module
    except (ValueError, RecursionError) as error:
        raise Broken("Gemini did not return valid JSON") from error
    candidates = _list(_mapping(answer).get("candidates"))
    candidate = _mapping(candidates[0]) if candidates else {}
    parts = [_mapping(part) for part in _list(_mapping(candidate.get("content")).get("parts"))]
    shown = [part for part in parts if part.get("thought") is not True]
    images = [data for part in shown if (data := _mapping(part.get("inlineData")).get("data"))]
    if not images:
        raise _missing_image(_mapping(answer), candidate, shown, hidden)
    try:
        file = pybase64.b64decode(images[-1], validate=True)
    except (ValueError, TypeError) as error:
        raise Broken("Gemini returned an image that is not valid base64") from error
    model = _mapping(answer).get("modelVersion")
    usage = _mapping(_mapping(answer).get("usageMetadata"))
    total = usage.get("totalTokenCount")
    return GeminiImage(
        read_answer(file),
        one_line(model) if isinstance(model, str) else "",
        total if isinstance(total, int) else 0,
        _tokens(usage),
    )


def _tokens(usage: Mapping[str, Any]) -> Tokens | None:
    """Return the numbers of tokens, or None if they are not known.

    An output whose type is not specified is the image. Thoughts are text.
    """
    try:
        sent, returned = token_count(usage.get("promptTokenCount")), token_count(usage.get("candidatesTokenCount"))
        sent_images = _image_tokens(usage.get("promptTokensDetails"), default=0)
        returned_images = _image_tokens(usage.get("candidatesTokensDetails"), default=returned)
        return Tokens(
            text_input=token_count(sent - sent_images),
            image_input=sent_images,
            text_output=token_count(returned - returned_images) + token_count(usage.get("thoughtsTokenCount", 0)),
            image_output=returned_images,
        )
    except ValueError:
        return None


def _image_tokens(details: object, *, default: int) -> int:
    """Return the number of tokens of images in a list of numbers by modality. Returns `default` without a list."""
    if not isinstance(details, list):
        return default
    entries = [_mapping(entry) for entry in details]
    return sum(token_count(entry.get("tokenCount")) for entry in entries if entry.get("modality") == "IMAGE")


def _missing_image(
    answer: Mapping[str, Any], candidate: Mapping[str, Any], parts: Iterable[Mapping[str, Any]], hidden: Iterable[str]
) -> Declined | Broken:
    """Return the error for a response without an image."""
    blocked = _name(_mapping(answer.get("promptFeedback")).get("blockReason"))
    if blocked:
        return Declined(f"Gemini declined the prompt: {_REFUSALS.get(blocked, 'the prompt is blocked')} ({blocked})")
    finished = _name(candidate.get("finishReason"))
    if finished in _REFUSALS:
        message = candidate.get("finishMessage")
        detail = f": {one_line(message, dict.fromkeys(hidden, '…'))}" if isinstance(message, str) and message else ""
        return Declined(f"Gemini returned no image, because {_REFUSALS[finished]} ({finished}){detail}")
    if finished in ("STOP", "") and any(isinstance(part.get("text"), str) for part in parts):
        return Declined("Gemini answered with text instead of an image; request an image more clearly in the prompt")
    return Broken(f"Gemini returned no image ({finished or 'no reason'})")


def error_from_gemini(reply: Reply, hidden: Iterable[str]) -> Exception:
    """Return the exception for a response whose status is not 200. See `error_from_details`.

    The texts in `hidden` are removed from error messages.
    """
    error = _error(reply.body)
    message = error_details(json.dumps({"error": error}).encode(), dict.fromkeys(hidden, "…")).message
    details = [_mapping(detail) for detail in _list(error.get("details"))]
    reasons = {str(detail.get("reason")) for detail in details}
    wait_s = max(map(_delay_s, details), default=0.0)
    if reply.status == 400 and ({"API_KEY_INVALID", "API_KEY_EXPIRED"} & reasons or "api key" in message.lower()):
        return NotAccepted("does not accept the api_key (HTTP 400)", cooldown_s=KEY_COOLDOWN_S)
    if reply.status == 400 and error.get("status") == "FAILED_PRECONDITION":
        return NotAccepted("does not serve the account: enable billing for its project", cooldown_s=KEY_COOLDOWN_S)
    if reply.status == 402:
        return NotAccepted("reports that the balance of the account is used up", cooldown_s=KEY_COOLDOWN_S)
    if reply.status == 404:
        return NotAccepted("has no such model or URL (HTTP 404)", cooldown_s=KEY_COOLDOWN_S)
    if reply.status == 429 and any(map(_is_daily, details)):
        return NotAccepted("reports that the daily quota is used up", cooldown_s=max(KEY_COOLDOWN_S, wait_s))
    return error_from_details(reply, ErrorDetails(message), paid=True, server="Gemini", wait_s=wait_s)


def _error(body: bytes) -> Mapping[str, Any]:
    """Return the object `error` of the body. Some responses contain it in a list."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(answer, list) and answer:
        answer = answer[0]
    error = _mapping(answer).get("error")
    return {"message": error} if isinstance(error, str) else _mapping(error)


def _delay_s(detail: Mapping[str, Any]) -> float:
    """Return the delay in a RetryInfo in seconds, at most an hour. Returns 0 for other details."""
    match = _DELAY.fullmatch(str(detail.get("retryDelay")))
    return min(_MAX_WAIT_S, float(match[1])) if match else 0.0


def _is_daily(detail: Mapping[str, Any]) -> bool:
    """Return whether the detail is the violation of a daily quota."""
    return any("PerDay" in str(_mapping(violation).get("quotaId")) for violation in _list(detail.get("violations")))


def _name(value: object) -> str:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
