"""Checks for the options of routes. Each error message names the option and the allowed values."""

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from framehouse.domain.field_reader import url_problem


class BadOption(ValueError):
    """Raised when an option of a route is invalid. The message names the option and the allowed values."""


def check_integer(name: str, value: object, minimum: int, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise BadOption(f"{name} must be a whole number from {minimum:,} to {maximum:,}; it is {as_json(value)}")
    return value


def check_number(name: str, value: object, minimum: float, maximum: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
        raise BadOption(f"{name} must be a number from {minimum:g} to {maximum:g}; it is {as_json(value)}")
    return float(value)


def check_bool(name: str, value: object, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadOption(f"{name} must be true or false; it is {as_json(value)}")
    return value


def check_api_key(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or any(c <= " " for c in value):
        raise BadOption("api_key must contain only ASCII characters and no spaces; omit it if no key is needed")
    return value


def check_urls(name: str, value: object, example: str) -> tuple[str, ...]:
    """Check a list of at least one URL. Returns the URLs without a trailing slash."""
    return check_distinct(name, [_check_url(name, url) for url in check_list(name, value, example)])


def check_list(name: str, value: object, example: str) -> Sequence[object]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise BadOption(f'{name} must be a list of at least one URL, such as ["{example}"]')
    return value


def check_distinct(name: str, urls: Sequence[str]) -> tuple[str, ...]:
    if len(set(urls)) < len(urls):
        raise BadOption(f"{name} must not contain the same URL twice")
    return tuple(urls)


def _check_url(name: str, value: object) -> str:
    url = value.strip().rstrip("/") if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise BadOption(f"{name}: {as_json(value)} must be an http or https URL without a user name, query or fragment")
    return url


def check_key(name: str, value: object) -> str:
    """Check a required API key. The error message does not contain the key."""
    if not isinstance(value, str) or not value or not value.isascii() or any(c <= " " or c == "\x7f" for c in value):
        raise BadOption(f"{name} must be the key of an account: ASCII characters without spaces")
    return value


def check_url(name: str, value: object) -> str:
    """Check a URL to which the engine appends paths. Returns the URL without trailing slashes."""
    if not isinstance(value, str):
        raise BadOption(f"{name} must be text; it is {as_json(value)}")
    if problem := url_problem(value):
        raise BadOption(f"{name} {problem}")
    if "?" in value or "#" in value:
        raise BadOption(f"{name} must not contain a query or a fragment")
    return value.rstrip("/")


def check_cite(cite: object) -> str:
    """Check the option `cite`, which is the text that refers to an input image in a prompt. `{}` stands for the image's
    number (see the module `engines.arrange`)."""
    if not isinstance(cite, str) or cite.count("{}") != 1 or len(cite) > 50 or cite.replace("{}", "").count("{"):
        raise BadOption(
            'cite must be the text that refers to an image in a prompt, such as "image {}": '
            "at most 50 characters, with exactly one {} in place of the number"
        )
    return cite


def as_json(value: object) -> str:
    """Return the value as JSON, for an error message."""
    return json.dumps(value, ensure_ascii=False, default=str)
