"""Read the images in a response with status 200."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urljoin

import numpy as np
import pybase64
from numpy.typing import NDArray
from pydantic_core import from_json

from framehouse.adapters.fetch import FetchFailed, fetch, host_of
from framehouse.domain.errors import Broken, Declined
from framehouse.engines.error_replies import error_from_item
from framehouse.engines.image_files import MAX_ANSWER_BYTES, ImageFile, read_answer

_DATA_URL = re.compile(r"\s*data:([^,]{0,200}),", re.IGNORECASE)
_NOT_THE_FORMAT = "the model server's response does not have the format of the Images API"
_FETCH_ATTEMPTS = 4
_FIRST_PAUSE_S = 1.0


class DownloadFailed(Exception):
    """Raised when a generated image cannot be downloaded. `reason` is the end of a sentence."""

    def __init__(self, reason: str, *, retry: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry


@dataclass(frozen=True, slots=True)
class ReturnedImage:
    """An image from the server. `prompt` is the prompt that the server used, or empty if it is not reported."""

    image: NDArray[np.uint8] | ImageFile
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class ReturnedImages:
    """The images of a response, and the value of its field `usage`, or None if it has no such field."""

    images: Sequence[ReturnedImage | None]
    usage: object


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry of a response: the file of an image, or the URL of the file."""

    file: bytes
    url: str
    prompt: str


def decode_images(body: bytes, count: int) -> ReturnedImages:
    """Return the images in a response, in order. Blocks the calling thread.

    Raises Broken unless the response contains exactly `count` images in base64 and each image can be decoded.
    """
    items, usage = _entries(body)
    if len(items) != count:
        raise Broken(f"the model server returned {len(items)} images instead of {count}")
    decoded = []
    for item in items:
        content = item.get("b64_json")
        if not isinstance(content, str) or not content:
            raise Broken(f"the model server returned {'a URL instead of an image' if item.get('url') else 'no image'}")
        try:
            file = pybase64.b64decode(content, validate=True)
        except ValueError as error:
            raise Broken("the model server returned an image that is not valid base64") from error
        decoded.append(ReturnedImage(read_answer(file), _prompt_of(item)))
    return ReturnedImages(decoded, usage)


async def read_images(body: bytes, count: int, *, request_url: str, hidden: Mapping[str, str]) -> ReturnedImages:
    """Return at least one and at most `count` images of a response, in order. The result contains None for each entry
    of the response that contains an error instead of an image.

    An image can be base64, a data URL, or a URL, which is downloaded. A URL can be relative to `request_url`. If the
    response contains no image, raises the first error. Raises Broken if an image cannot be decoded, and
    DownloadFailed if an image cannot be downloaded.
    """
    items, usage = await asyncio.to_thread(_read_items, body, count, hidden)
    files = await asyncio.gather(
        *(_download(request_url, item.url) for item in items if item and item.url),
        return_exceptions=True,
    )
    for failure in files:
        if isinstance(failure, BaseException):
            raise failure
    downloaded = iter([file for file in files if isinstance(file, bytes)])
    images = [
        ReturnedImage(await asyncio.to_thread(read_answer, next(downloaded) if item.url else item.file), item.prompt)
        if item
        else None
        for item in items
    ]
    return ReturnedImages(images, usage)


def _read_items(body: bytes, count: int, hidden: Mapping[str, str]) -> tuple[Sequence[_Item | None], object]:
    """Return the entries of a response, and the value of its field `usage`."""
    items: list[_Item | None] = []
    errors: list[Declined | Broken] = []
    entries, usage = _entries(body)
    for entry in entries:
        if error := error_from_item(entry, hidden):
            errors.append(error)
            items.append(None)
            continue
        content, url = entry.get("b64_json"), entry.get("url")
        if isinstance(content, str) and content:
            items.append(_Item(_decode_base64(content), "", _prompt_of(entry)))
        elif isinstance(url, str) and _DATA_URL.match(url):
            items.append(_Item(_decode_base64(url), "", _prompt_of(entry)))
        elif isinstance(url, str) and url:
            items.append(_Item(b"", url.strip(), _prompt_of(entry)))
        else:
            errors.append(Broken("the model server returned no image"))
            items.append(None)
    items = items[:count]
    if not any(items):
        declined = [error for error in errors if isinstance(error, Declined)]
        raise next(iter(declined or errors), Broken("the model server returned no image"))
    return items, usage


def _entries(body: bytes) -> tuple[list[Mapping[str, object]], object]:
    try:
        answer = from_json(body)  # from_json parses base64 images ten times as fast as the json module
        data = answer["data"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise Broken(_NOT_THE_FORMAT) from error
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise Broken(_NOT_THE_FORMAT)
    return data, answer.get("usage")


def _prompt_of(item: Mapping[str, object]) -> str:
    prompt = item.get("revised_prompt")
    return prompt if isinstance(prompt, str) else ""


def _decode_base64(text: str) -> bytes:
    """Decode base64 or a data URL with any media type. Line breaks, the URL-safe alphabet and missing padding are
    accepted."""
    if match := _DATA_URL.match(text):
        text = text[match.end() :]
        if not match[1].lower().rstrip().endswith("base64"):
            return unquote_to_bytes(text)
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        pass
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise Broken("the model server returned an image that is not valid base64") from error


async def _download(request_url: str, url: str) -> bytes:
    """Download an image. Makes up to four attempts, because the image may be paid for.

    Private addresses are allowed only for the host of `request_url`. Raises DownloadFailed.
    """
    try:
        url = urljoin(request_url, url)
    except ValueError as error:
        raise DownloadFailed("returned an image whose URL is not valid", retry=False) from error
    host = host_of(request_url)
    for attempt in range(_FETCH_ATTEMPTS):
        if attempt:
            await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        try:
            return await fetch(url, max_bytes=MAX_ANSWER_BYTES, allow_private=False, private_host=host)
        except FetchFailed as error:
            failure = error
            if not error.retry and "HTTP 404" not in error.message:  # a new file may not be available immediately
                break
    raise DownloadFailed(f"returned an image whose URL {failure.message}", retry=failure.retry) from failure
