"""Read a request body and check it against the rules of the Kling API.

All problems in the body are reported together.
"""

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.model import Catalog, Model
from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS, citations, resolve_citation
from framehouse.domain.reference import MAX_REFERENCES, ImageInput, LongString, SentImage, is_url
from framehouse.domain.sizes import AUTO, RATIOS
from framehouse.domain.task import ImageRequest, ResultType

MAX_N = 9
SERIES_AMOUNT = (2, 9)
MAX_EXTERNAL_ID_CHARACTERS = 255
MAX_URL_CHARACTERS = 2048
MAX_HOST_CHARACTERS = 253
MAX_SEED = 2**53 - 1
_QUOTED_CHARACTERS = 40


def quoted(value: object) -> str:
    """Return the value in quotation marks, for a one-line error message. At most 40 characters are quoted."""
    if isinstance(value, LongString):
        value = value.head
    return f'"{_short(value if isinstance(value, str) else reprlib.repr(value))}"'


def _short(text: str) -> str:
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


@dataclass(slots=True)
class FieldReader:
    """A reader for the fields of one JSON object. It adds the problems with the fields to `problems`.

    A field counts as absent if it is missing, `null` or the empty string. An absent field has its default value.
    `prefix` is the path of the object in the body. Error messages contain the path.
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

    def text(self, name: str, *, max_characters: int) -> str:
        value = self.get(name)
        if value is None:
            return ""
        if isinstance(value, LongString):  # no text field may be as long as a LongString
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
        if value is None:
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
            self.add_problem(name, f"must be from {low} to {high}, not {number}")
        else:
            return number
        return default

    def boolean(self, name: str) -> bool:
        """Return a boolean that was sent as a JSON boolean or as the string "true" or "false". The default is False."""
        value = self.get(name)
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if value is not None and not isinstance(value, bool):
            self.add_problem(name, f"must be true or false, not {quoted(value)}")
        return value is True

    def url(self, name: str) -> str:
        value = self.text(name, max_characters=MAX_URL_CHARACTERS).strip()
        if value and (problem := url_problem(value)):
            self.add_problem(name, problem)
        return value

    def image(self, name: str, value: object) -> ImageInput:
        """Return an image as the client sent it, without surrounding whitespace. `value` is the value of the field
        `name`.

        Only the form of a URL is checked here; the content of the image is checked later. Returns an empty string if
        the value is empty, is not a string, or is a LongString that contains a URL.
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
        """Return the value of `key` in each object of a list, in order.

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
    """Return a host name in its ASCII form (IDNA). An IPv6 address is returned unchanged.

    Raises UnicodeError if the name is invalid or too long.
    """
    if ":" in host:
        return host
    if len(name := host.encode("idna").decode()) > MAX_HOST_CHARACTERS:
        raise UnicodeError("too long")
    return name


def url_problem(value: str) -> str | None:
    """Return what is wrong with a URL that Framehouse must call, or None if the URL is valid.

    Only the form of the URL is checked; there is no DNS query.
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


def parse_request(body: object, models: Catalog) -> ImageRequest:
    """Read the request in a JSON body.

    Raises Refused as `read_request` does. Raises Refused (1201) with a list of all problems if the request is invalid.
    """
    request, problems = read_request(body, models)
    if problems:
        raise refused_fields(problems)
    return request


def read_request(body: object, models: Catalog) -> tuple[ImageRequest, list[str]]:
    """Read the request in a JSON body. Return the request and a list of the problems in the body.

    The request is valid only if the list is empty. Raises Refused (1201) if the body is not an object. Raises Refused
    (1203) if the model is not configured.
    """
    if not isinstance(body, dict):
        raise Refused(1201, "the body must be a JSON object")
    reader = FieldReader(body)
    model = _model(reader, models)

    prompt = reader.required_text("prompt", max_characters=MAX_PROMPT_CHARACTERS)
    images = _images(reader)
    elements = _elements(reader)
    _check_reference_count(reader, len(images), len(elements))
    for citation in citations(prompt):
        resolved = resolve_citation(citation, images=len(images), elements=len(elements))
        if resolved is None and citation.must_exist:
            counts = _reference_counts(len(images), len(elements))
            reader.add_problem("prompt", f"cites {_short(citation.text)}, but {counts} were sent")

    resolution = reader.choice("resolution", model.resolutions if model else ("1k", "2k", "4k"), "1k")
    result_choice = reader.choice("result_type", ("single", "series"), "single")
    result_type: ResultType = "series" if result_choice == "series" else "single"
    if result_type == "series" and model and not model.series:
        reader.add_problem("result_type", f"must be single for {model.name}")
    request = ImageRequest(
        model=model.name if model else "",
        prompt=prompt,
        images=images,
        elements=elements,
        resolution=resolution,
        result_type=result_type,
        ratio=reader.choice("aspect_ratio", (*RATIOS, AUTO), AUTO),
        amount=_amount(reader, result_type),
        watermark=_watermark(reader),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
        seed=_seed(body),
    )
    return request, reader.problems


def _model(reader: FieldReader, models: Catalog) -> Model | None:
    """Return the model that a request names, or the default model.

    Returns None if the request names no model and there is no default model. Raises Refused (1203) if the model is not
    configured.
    """
    name = reader.text("model_name", max_characters=200).strip() or reader.text("model", max_characters=200).strip()
    if not name:
        if models.default is None and not reader.problems:
            names = " or ".join(model.name for model in models.models)
            reader.add_problem("model_name", f"is required; send {names}")
        return models.default
    if (model := models.find(name)) is None:
        raise Refused(1203, f"model_name {quoted(name)} does not exist")
    return model


def _reference_counts(images: int, elements: int) -> str:
    return f"{images} image{'' if images == 1 else 's'} and {elements} element{'' if elements == 1 else 's'}"


_LIMIT_TEXT = "at most {max_entries} images and elements together are allowed"


_IMAGE_KEYS = ("image", "url", "image_url")


def _images(reader: FieldReader) -> tuple[SentImage, ...]:
    """Return the reference images: the field `image`, then the entries of `image_list`.

    The Kling API has no field `image` in this request, but some clients send a reference in it.
    """
    return (*_image_entries(reader, "image"), *_image_entries(reader, "image_list"))


def _image_entries(reader: FieldReader, name: str) -> list[SentImage]:
    """Return the images in a list. An entry is a string or an object with one of `_IMAGE_KEYS`.

    A string instead of a list is an image of its own, except in `image_list`.
    """
    value = reader.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        if name == "image_list":
            reader.add_problem(name, f"must be a list of images, not {quoted(value)}")
            return []
        return [_sent_image(reader, name, value)]
    if len(value) > MAX_REFERENCES:
        limit = _LIMIT_TEXT.format(max_entries=MAX_REFERENCES)
        reader.add_problem(name, f"has {len(value)} entries; {limit}")
    return [_sent_image(reader, f"{name}[{index}]", item) for index, item in enumerate(value[: MAX_REFERENCES + 1])]


def _sent_image(reader: FieldReader, field: str, item: object) -> SentImage:
    """Return one image. `field` is the path of `item`. The image is an empty string if the item is invalid."""
    if isinstance(item, dict):
        key = next((key for key in _IMAGE_KEYS if item.get(key) not in (None, "")), _IMAGE_KEYS[0])
        field, item = f"{field}.{key}", item.get(key)
    if item in (None, ""):
        reader.add_problem(field, "is required and must not be empty")
        return SentImage(field, "")
    return SentImage(field, reader.image(field, item))


def _elements(reader: FieldReader) -> tuple[int, ...]:
    elements = []
    for index, value in enumerate(reader.objects("element_list", "element_id", limit_text=_LIMIT_TEXT)):
        number = read_int(value)
        if number is None or number < 1:
            reader.add_problem(f"element_list[{index}].element_id", f"must be a positive integer, not {quoted(value)}")
            number = 0
        elements.append(number)
    return tuple(elements)


def _check_reference_count(reader: FieldReader, images: int, elements: int) -> None:
    """Add a problem if there are too many references in total. A list that is too long has a problem already."""
    names = [name for name in ("image", "image_list", "element_list") if reader.get(name) not in (None, [])]
    longest = max(len(value) if isinstance(value := reader.get(name), list) else 1 for name in names) if names else 0
    if images + elements > MAX_REFERENCES >= longest:
        reader.add_problem(
            " and ".join(names),
            f"have {images + elements} entries; together at most {MAX_REFERENCES} are allowed",
        )


def _amount(reader: FieldReader, result_type: ResultType) -> int | None:
    if result_type == "single":
        return reader.integer("n", 1, MAX_N, 1)
    value = reader.body.get("series_amount")
    if isinstance(value, str) and value.strip().lower() in (AUTO, ""):
        return None
    low, high = SERIES_AMOUNT
    return reader.integer("series_amount", low, high, 0) or None


def read_external_id(reader: FieldReader) -> str:
    """Read the id that the client assigns to a task, without surrounding whitespace.

    Returns an empty string if the field is absent or not valid text.

    An id that contains control characters is returned, but `reader.problems` then contains an error.
    """
    value = reader.text("external_task_id", max_characters=MAX_EXTERNAL_ID_CHARACTERS).strip()
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        reader.add_problem("external_task_id", "must not contain control characters")
    return value


def _watermark(reader: FieldReader) -> bool:
    """Return whether a watermarked copy is requested: `watermark_info.enabled`, or `watermark` as some clients send."""
    info = reader.get("watermark_info")
    if info is None:
        return reader.boolean("watermark")
    if not isinstance(info, dict):
        reader.add_problem("watermark_info", 'must be {"enabled": true} or {"enabled": false}')
        return False
    return FieldReader(info, reader.problems, "watermark_info.").boolean("enabled")


def _seed(body: Mapping[str, Any]) -> int | None:
    """Read the field `seed`, which is not part of the Kling API. Returns None if the field is absent or invalid.

    An invalid seed is ignored, because the Kling API ignores unknown fields.
    """
    seed = read_int(body.get("seed"))
    return seed if seed is not None and 0 <= seed <= MAX_SEED else None
