"""Read and check the fields of a JSON object, and collect all problems with these fields."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from framehouse.domain.reference import MAX_REFERENCES, ImageInput, LongString, is_url

MAX_URL_CHARACTERS = 8192
MAX_HOST_CHARACTERS = 253
_QUOTED_CHARACTERS, _QUOTED_ENTRIES = 40, 6


def quoted(value: object) -> str:
    """Return a value in quotation marks for a one-line error message. At most 40 characters are quoted."""
    if isinstance(value, LongString):
        value = value.head
    return f'"{shortened(value if isinstance(value, str) else _as_json(value))}"'


def _as_json(value: object, depth: int = 2) -> str:
    """Return the start of a value as JSON, which is the form in which the client sent it."""
    if isinstance(value, dict | list) and not depth:
        return "…"
    match value:
        case dict():
            entries = islice(value.items(), _QUOTED_ENTRIES)
            return "{" + ", ".join(f"{_as_json(key)}: {_as_json(entry, depth - 1)}" for key, entry in entries) + "}"
        case list():
            return "[" + ", ".join(_as_json(entry, depth - 1) for entry in value[:_QUOTED_ENTRIES]) + "]"
        case LongString():
            return json.dumps(value.head[:_QUOTED_CHARACTERS], ensure_ascii=False)
        case str():
            return json.dumps(value[: _QUOTED_CHARACTERS + 1], ensure_ascii=False)
        case int() if abs(value) > 10**_QUOTED_CHARACTERS:
            return f"a number of more than {_QUOTED_CHARACTERS} digits"
        case _:
            return json.dumps(value)


def shortened(text: str) -> str:
    """Return the first 40 characters of a text, without unprintable characters."""
    start = "".join(c if c.isprintable() else "\ufffd" for c in text[:_QUOTED_CHARACTERS])
    return start + "…" if len(text) > _QUOTED_CHARACTERS else start


def read_int(value: object) -> int | None:
    """Return the value of a JSON integer or a numeric string. Returns None for all other values.

    Booleans and numbers with a fraction or an exponent are not accepted.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
        return int(value)
    return None


def read_number(value: object) -> float | None:
    """Return the value of a JSON number or a decimal string, such as "0.5". Returns None for all other values.

    JSON numbers whose absolute value is greater than 2**53 are not accepted.
    """
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?", value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        return None
    return float(value)


@dataclass(slots=True)
class FieldReader:
    """A reader for the fields of one JSON object. The reader adds all problems with the fields to `problems`.

    A field counts as absent if it is missing, `null` or the empty string. An absent field has its default value.
    `prefix` is the path of the object in the body, and is part of the error messages.
    """

    body: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)
    prefix: str = ""

    def add_problem(self, name: str, problem: str) -> None:
        self.problems.append(f"{self.prefix}{name} {problem}")

    def get(self, name: str) -> Any:
        """Return the value of a field, or None if the field is absent."""
        value = self.body.get(name)
        return None if value == "" else value

    def text(self, name: str, *, max_characters: int, strip: bool = False) -> str:
        """Return the string in a field. If `strip` is true, the string is stripped before its length is checked."""
        value = self.get(name)
        if strip and isinstance(value, str):
            value = value.strip()
        if value is None:
            return ""
        if isinstance(value, LongString):  # a LongString is longer than any text field allows
            self.add_problem(name, f"has {value.characters} characters; at most {max_characters} are allowed")
        elif not isinstance(value, str):
            self.add_problem(name, f"must be a string, not {quoted(value)}")
        elif len(value) > max_characters:
            self.add_problem(name, f"has {len(value)} characters; at most {max_characters} are allowed")
        elif "\0" in value:
            self.add_problem(name, "contains a NUL character, which is not allowed")
        else:
            return value
        return ""

    def required_text(self, name: str, *, max_characters: int) -> str:
        problems_before = len(self.problems)
        value = self.text(name, max_characters=max_characters)
        if not value.strip() and len(self.problems) == problems_before:
            self.add_problem(name, "is required and must not be empty")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return default
        if isinstance(value, str) and value.strip().lower() in allowed:
            return value.strip().lower()
        self.add_problem(name, f"must be one of {', '.join(allowed)}, not {quoted(value)}")
        return default

    def integer(self, name: str, low: int, high: int, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        number = read_int(value)
        if number is None:
            self.add_problem(name, f"must be an integer from {low} to {high}, not {quoted(value)}")
        elif not low <= number <= high:
            self.add_problem(name, f"must be from {low} to {high}, not {shortened(_as_json(number))}")
        else:
            return number
        return default

    def number(self, name: str, low: float, high: float, default: float) -> float:
        value = self.get(name)
        if value is None:
            return default
        number = read_number(value)
        if number is None or not low <= number <= high:
            self.add_problem(name, f"must be a number from {low:g} to {high:g}, not {quoted(value)}")
            return default
        return number

    def boolean(self, name: str) -> bool:
        """Return a boolean that was sent as a JSON boolean or as the string "true" or "false". The default is False."""
        value = self.get(name)
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if value is not None and not isinstance(value, bool):
            self.add_problem(name, f"must be true or false, not {quoted(value)}")
        return value is True

    def url(self, name: str) -> str:
        value = self.text(name, max_characters=MAX_URL_CHARACTERS, strip=True)
        if value and (problem := url_problem(value)):
            self.add_problem(name, problem)
        return value

    def image(self, name: str, value: object) -> ImageInput:
        """Return the image in field `name` as the client sent it, without surrounding whitespace.

        `value` is the value of the field. If the image is a URL, only the form of the URL is checked. The content of
        the image is checked later. Returns an empty string if the value is empty, is not a string, or is a LongString
        that contains a URL.
        """
        if not isinstance(value, ImageInput):
            self.add_problem(name, f"must be a URL or base64 string, not {quoted(value)}")
            return ""
        if isinstance(value, str):
            value = value.strip()
            if not value:
                self.add_problem(name, "is required and must not be empty")
        if isinstance(value, LongString):
            if not is_url(value.head.lstrip()):
                return value
            self.add_problem(
                name, f"is a URL of {value.characters} characters; at most {MAX_URL_CHARACTERS} are allowed"
            )
            return ""
        if is_url(value):
            if len(value) > MAX_URL_CHARACTERS:
                self.add_problem(name, f"is a URL of {len(value)} characters; at most {MAX_URL_CHARACTERS} are allowed")
            elif problem := url_problem(value):
                self.add_problem(name, problem)
        return value

    def objects(
        self,
        name: str,
        key: str,
        *,
        max_entries: int = MAX_REFERENCES,
        limit_text: str = "at most {max_entries} are allowed",
    ) -> list[Any]:
        """Return the value of `key` in each object of the list in field `name`, in order.

        `limit_text` is the part of the error message that states the limit. If the list is too long, only the first
        `max_entries` + 1 objects are read.
        """
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.add_problem(name, f"must be a list of objects with {key}, not {quoted(value)}")
            return []
        values = []
        for index, item in enumerate(value[: max_entries + 1]):
            if isinstance(item, dict) and item.get(key) not in (None, ""):
                values.append(item[key])
            else:
                self.add_problem(f"{name}[{index}].{key}", "is required and must not be empty")
        if len(value) > max_entries:
            self.add_problem(name, f"has {len(value)} entries; {limit_text.format(max_entries=max_entries)}")
        return values


def ascii_host(host: str) -> str:
    """Return a host name in its ASCII form (IDNA 2008, as in browsers). An IPv6 address is returned unchanged.

    Raises UnicodeError if the name is invalid or too long.
    """
    if ":" in host:
        return host
    if host.isascii():
        # This codec checks the lengths of the DNS labels but not their characters, so names with "_" are accepted.
        name = host.encode("idna").decode()
    else:
        import idna  # imported here, because its tables are large and most host names are ASCII

        name = idna.encode(host, uts46=True).decode()
    if len(name) > MAX_HOST_CHARACTERS:
        raise UnicodeError("too long")
    return name


def url_problem(value: str) -> str | None:
    """Return the problem with a URL to which Framehouse must send requests, or None if the URL is valid.

    Only the form of the URL is checked, without a DNS query.
    """
    try:
        parts = urlsplit(value)
        valid_port = parts.port is None or parts.port > 0
    except ValueError:
        valid_port, parts = False, urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not valid_port:
        return f"must be an http or https URL, not {quoted(value)}"
    if "@" in parts.netloc:
        return "must not contain a user name or password"
    try:
        ascii_host(parts.hostname)
    except UnicodeError:
        return f"must contain a valid host name, not {quoted(parts.hostname)}"
    if re.search(r"[\s\x00-\x1f\x7f\\]", value):
        return "must not contain spaces, backslashes or control characters"
    return None
