"""The steps that upload files, verify images and get the account. Only Framehouse has these endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from framehouse_client.answers import Answer
from framehouse_client.connection import Connection
from framehouse_client.effects import NoResponse, Request, Response, Steps, call, send
from framehouse_client.errors import FramehouseError
from framehouse_client.exchange import Retries, checked_answer, connection_failed, get, pause, post, repeat
from framehouse_client.task_request import ImageInput, is_url, read_image

_SEND_S = 180.0


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the key.

    `images_in_flight` is the number of images that the server currently generates for the account, and `concurrency`
    the limit. `units_limit` is None if the number of units is not limited. `raw` is the object of the response.
    """

    name: str
    images_in_flight: int
    concurrency: int
    units_used: int
    units_reserved: int
    units_limit: int | None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Verification:
    """The origin of an image.

    `verdict` is `made_here`, `altered`, `metadata`, `similar` or `unknown` (docs/api.md of Framehouse). `altered` is
    None if it is not known whether the image was changed. `sentences` is the result in English. `raw` is the object of
    the response, which contains further fields.
    """

    verdict: str
    made_here: bool
    altered: bool | None
    sentences: tuple[str, ...]
    model: str = ""
    task_id: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def get_account(connection: Connection) -> Steps[Account]:
    data = _data((yield from get(connection, "/v1/account")))
    concurrency, units = _mapping(data.get("concurrency")), _mapping(data.get("units"))
    limit = units.get("limit")
    return Account(
        name=str(data.get("account") or ""),
        images_in_flight=int(concurrency.get("used") or 0),
        concurrency=int(concurrency.get("allowed") or 0),
        units_used=int(units.get("used") or 0),
        units_reserved=int(units.get("reserved") or 0),
        units_limit=None if limit is None else int(limit),
        raw=data,
    )


def upload_image(connection: Connection, image: ImageInput) -> Steps[str]:
    """Upload an image, and return the URL that requests can contain. Raises OSError if the file cannot be read."""
    content = yield from call(partial(read_image, image))
    urls = _data((yield from post(connection, "/v1/uploads", {})))
    request = Request(
        method="PUT",
        url=connection.absolute(str(urls.get("upload_url"))),
        headers={"Content-Type": "application/octet-stream"},
        content=content,
        timeout_s=_SEND_S,
    )
    retries = Retries(connection)
    while True:
        outcome = yield from send(request)  # the URL is signed and can point to another host, so the key is not sent
        error, temporary = _put_error(connection, outcome)
        if error is None:
            return connection.absolute(str(urls.get("download_url")))
        pause_s = retries.pause_s() if temporary else None
        if pause_s is None:
            raise error
        yield from pause(pause_s, error)


def verify_image(connection: Connection, image: ImageInput) -> Steps[Verification]:
    """Return the origin of an image. Raises OSError if the file cannot be read."""
    if is_url(image):
        answer = yield from post(connection, "/v1/verify", {"image": image})
    else:
        content = yield from call(partial(read_image, image))
        url = connection.url("/v1/verify")
        answer = yield from repeat(
            connection, Request(method="POST", url=url, file=("image", content), timeout_s=_SEND_S)
        )
    data = _data(answer)
    altered = data.get("altered")
    return Verification(
        verdict=str(data.get("verdict") or "unknown"),
        made_here=data.get("made_here") is True,
        altered=altered if isinstance(altered, bool) else None,
        sentences=tuple(str(sentence) for sentence in data.get("sentences") or ()),
        model=str(data.get("model") or ""),
        task_id=str(data.get("task_id") or ""),
        raw=data,
    )


def _put_error(connection: Connection, outcome: Response | NoResponse) -> tuple[FramehouseError | None, bool]:
    """Return the error of an upload, or None, and whether the upload can succeed later."""
    if isinstance(outcome, NoResponse):
        return connection_failed(connection, outcome), True
    if 200 <= outcome.status < 300:
        return None, False
    answer = checked_answer(outcome)
    return answer.error(), answer.is_temporary


def _data(answer: Answer) -> Mapping[str, Any]:
    return _mapping(answer.data)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
