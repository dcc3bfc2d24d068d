"""A request body, read by the rules of the contract, with every problem named at once."""

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.model import Model
from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS, citations, resolve_citation
from framehouse.domain.reference import MAX_REFERENCES, LongString, Sent, is_url
from framehouse.domain.sizes import AUTO, RATIOS
from framehouse.domain.task import ImageRequest, ResultType

MAX_N = 9
SERIES_AMOUNT = (2, 9)
MAX_EXTERNAL_ID_CHARACTERS = 255
MAX_URL_CHARACTERS = 2048
MAX_HOST_CHARACTERS = 253
MAX_SEED = 2**53 - 1
_SHOWN_CHARACTERS = 40


def shown(value: object) -> str:
    """A value as an error message may repeat it: short, one line, never a whole picture."""
    if isinstance(value, LongString):
        value = value.head
    return f'"{_short(value if isinstance(value, str) else reprlib.repr(value))}"'


def _short(text: str) -> str:
    begin = "".join(c if c.isprintable() else "\ufffd" for c in text[:_SHOWN_CHARACTERS])
    return begin + "…" if len(text) > _SHOWN_CHARACTERS else begin


def read_int(value: object) -> int | None:
    """A JSON integer or a numeric string; else None. Booleans, fractions and exponents are not integers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip(" ")):
        return int(value)
    return None


@dataclass(slots=True)
class FieldReader:
    """Reads the fields of one JSON object and collects what is wrong with them.

    Absent, `null` and (for optional fields) the empty string all mean the default. `prefix` leads to an object within
    the body.
    """

    body: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)
    prefix: str = ""

    def problem(self, name: str, what: str) -> None:
        self.problems.append(f"{self.prefix}{name} {what}")

    def given(self, name: str) -> Any:
        value = self.body.get(name)
        return None if value == "" else value

    def text(self, name: str, *, most: int) -> str:
        value = self.given(name)
        if value is None:
            return ""
        if isinstance(value, LongString):  # longer than any text may be
            self.problem(name, f"has {value.characters} characters; at most {most} are allowed")
        elif not isinstance(value, str):
            self.problem(name, f"must be a string, not {shown(value)}")
        elif len(value) > most:
            self.problem(name, f"has {len(value)} characters; at most {most} are allowed")
        elif "\0" in value:
            self.problem(name, "holds a NUL character, which is not allowed")
        else:
            return value
        return ""

    def required_text(self, name: str, *, most: int) -> str:
        before = len(self.problems)
        value = self.text(name, most=most)
        if not value.strip() and len(self.problems) == before:
            self.problem(name, "is required and must not be empty")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.given(name)
        if value is None:
            return default
        if isinstance(value, str) and value.strip().lower() in allowed:
            return value.strip().lower()
        self.problem(name, f"must be one of {', '.join(allowed)}, not {shown(value)}")
        return default

    def integer(self, name: str, low: int, high: int, default: int) -> int:
        value = self.given(name)
        if value is None:
            return default
        number = read_int(value)
        if number is None:
            self.problem(name, f"must be an integer from {low} to {high}, not {shown(value)}")
        elif not low <= number <= high:
            self.problem(name, f"must be from {low} to {high}, not {number}")
        else:
            return number
        return default

    def url(self, name: str) -> str:
        value = self.text(name, most=MAX_URL_CHARACTERS)
        if value and (what := url_problem(value)):
            self.problem(name, what)
        return value

    def image(self, name: str, value: object) -> Sent:
        """A picture as sent, "" where it is none; of a URL the form is checked, the picture itself is not looked at."""
        if not isinstance(value, Sent):
            self.problem(name, f"must be a URL or base64 string, not {shown(value)}")
            return ""
        if isinstance(value, LongString):
            if not is_url(value.head):
                return value
            self.problem(name, f"is a URL of {value.characters} characters; at most {MAX_URL_CHARACTERS} are allowed")
            return ""
        if is_url(value):
            if len(value) > MAX_URL_CHARACTERS:
                self.problem(name, f"is a URL of {len(value)} characters; at most {MAX_URL_CHARACTERS} are allowed")
            elif what := url_problem(value):
                self.problem(name, what)
        return value

    def objects(
        self, name: str, key: str, *, most: int = MAX_REFERENCES, limit: str = "at most {most} are allowed"
    ) -> list[Any]:
        """The `key` of each object of a list, in order; `limit` says what is allowed where they are too many."""
        value = self.given(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problem(name, f"must be a list of objects with {key}, not {shown(value)}")
            return []
        found = []
        for index, item in enumerate(value[: most + 1]):
            if isinstance(item, dict) and item.get(key) not in (None, ""):
                found.append(item[key])
            else:
                self.problem(f"{name}[{index}].{key}", "is required and must not be empty")
        if len(value) > most:
            self.problem(name, f"has {len(value)} entries; {limit.format(most=most)}")
        return found


def ascii_host(host: str) -> str:
    """A host name as it goes over the wire, international ones in their ASCII form. Raises UnicodeError."""
    if ":" in host:
        return host
    if len(name := host.encode("idna").decode()) > MAX_HOST_CHARACTERS:
        raise UnicodeError("too long")
    return name


def url_problem(value: str) -> str | None:
    """What is wrong with a URL that we are to call, or None. Only its form: nothing is looked up."""
    try:
        parts = urlsplit(value)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits, parts = False, urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
        return f"must be an http or https URL, not {shown(value)}"
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    try:
        ascii_host(parts.hostname)
    except UnicodeError:
        return f"must name a host that can exist, not {shown(parts.hostname)}"
    if re.search(r"[\s\x00-\x1f\x7f\\]", value):
        return "must not hold spaces or control characters"
    return None


def parse_request(body: object, find_model: Callable[[str], Model | None]) -> ImageRequest:
    """The request behind a JSON body. Raises Refused: as `read_request`, and 1201 that names every problem."""
    request, problems = read_request(body, find_model)
    if problems:
        raise refused_fields(problems)
    return request


def read_request(body: object, find_model: Callable[[str], Model | None]) -> tuple[ImageRequest, list[str]]:
    """The request behind a JSON body, and what is wrong with it; a field with a problem has its default.

    Raises Refused: 1201 for what is no object, 1203 for a model that is not configured.
    """
    if not isinstance(body, dict):
        raise Refused(1201, "the body must be a JSON object")
    read = FieldReader(body)
    name = read.text("model_name", most=200) or read.text("model", most=200)
    if not name and not read.problems:
        read.problem("model_name", "is required")
    model = find_model(name) if name else None
    if name and model is None:
        raise Refused(1203, f"model_name {shown(name)} does not exist")

    prompt = read.required_text("prompt", most=MAX_PROMPT_CHARACTERS)
    images = _images(read)
    elements = _elements(read)
    for citation in citations(prompt):
        if resolve_citation(citation, images=len(images), elements=len(elements)) is None:
            read.problem("prompt", f"cites {_short(citation.text)}, but {_sent(len(images), len(elements))}")

    resolution = read.choice("resolution", model.resolutions if model else ("1k", "2k", "4k"), "1k")
    wanted = read.choice("result_type", ("single", "series"), "single")
    result_type: ResultType = "series" if wanted == "series" else "single"
    if result_type == "series" and model and not model.series:
        read.problem("result_type", f"must be single for {model.name}")
    request = ImageRequest(
        model=name,
        prompt=prompt,
        images=images,
        elements=elements,
        resolution=resolution,
        result_type=result_type,
        ratio=read.choice("aspect_ratio", (*RATIOS, AUTO), AUTO),
        amount=_amount(read, result_type),
        watermark=_watermark(read),
        callback_url=read.url("callback_url"),
        external_task_id=read_external_id(read),
        seed=_seed(body),
    )
    return request, read.problems


def _sent(images: int, elements: int) -> str:
    return f"{images} image{'' if images == 1 else 's'} and {elements} element{'' if elements == 1 else 's'} were sent"


_TOGETHER = "images and elements together may be at most {most}"


def _images(read: FieldReader) -> tuple[Sent, ...]:
    sent = read.objects("image_list", "image", limit=_TOGETHER)
    return tuple(read.image(f"image_list[{index}].image", image) for index, image in enumerate(sent))


def _elements(read: FieldReader) -> tuple[int, ...]:
    elements = []
    for index, value in enumerate(read.objects("element_list", "element_id", limit=_TOGETHER)):
        number = read_int(value)
        if number is None or number < 1:
            read.problem(f"element_list[{index}].element_id", f"must be a positive integer, not {shown(value)}")
            number = 0
        elements.append(number)
    images = read.body.get("image_list")
    sent = len(images) if isinstance(images, list) else 0
    total = len(elements) + sent
    if elements and total > MAX_REFERENCES >= max(len(elements), sent):  # one list that is too long is named already
        read.problem(
            "element_list", f"and image_list have {total} entries; together at most {MAX_REFERENCES} are allowed"
        )
    return tuple(elements)


def _amount(read: FieldReader, result_type: ResultType) -> int | None:
    if result_type == "single":
        return read.integer("n", 1, MAX_N, 1)
    value = read.body.get("series_amount")
    if isinstance(value, str) and value.strip().lower() in (AUTO, ""):
        return None
    low, high = SERIES_AMOUNT
    return read.integer("series_amount", low, high, 0) or None


def read_external_id(read: FieldReader) -> str:
    """The caller's own id for a task; empty where there is none."""
    value = read.text("external_task_id", most=MAX_EXTERNAL_ID_CHARACTERS)
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        read.problem("external_task_id", "must not hold control characters")
    return value


def _watermark(read: FieldReader) -> bool:
    info = read.body.get("watermark_info")
    if info in (None, ""):
        return False
    enabled = info.get("enabled") if isinstance(info, dict) else info
    if not isinstance(info, dict) or not (enabled is None or isinstance(enabled, bool)):
        read.problem("watermark_info", f'must be {{"enabled": true}} or {{"enabled": false}}, not {shown(info)}')
    return enabled is True


def _seed(body: Mapping[str, Any]) -> int | None:
    """Ours, beyond the contract: an unusable seed is an unknown field, and those are ignored."""
    seed = read_int(body.get("seed"))
    return seed if seed is not None and 0 <= seed <= MAX_SEED else None
