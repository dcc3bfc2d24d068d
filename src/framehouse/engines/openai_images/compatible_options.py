"""The options of the kind `compatible`. They specify the requests that a service accepts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from framehouse.domain.sizes import Size
from framehouse.engines.option_checks import BadOption, as_json, check_integer

RESPONSE_FORMATS = ("b64_json", "url", "")
REFERENCE_FIELDS = {"form": "image[]", "data_urls": "image", "base64": "image", "objects": "image"}
"""The values of the option `references_as`, and the default of the option `reference_field` for each value."""
MAX_SERIES_IMAGES = 15
"""The maximum number of input and output images of a request for a series."""
_FIELDS_OF_THE_ENGINE = frozenset(("model", "prompt", "n", "size", "aspect_ratio", "resolution", "response_format"))
_SERIES_FIELDS = frozenset(("sequential_image_generation", "sequential_image_generation_options"))
_SIZE = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})")
_RATIO = re.compile(r"(\d{1,2}(?:\.\d{1,2})?):(\d{1,2}(?:\.\d{1,2})?)")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,50}")
_RESERVED_HEADERS = frozenset(("host", "content-type", "content-length", "transfer-encoding", "connection", "cookie"))


@dataclass(frozen=True, slots=True, repr=False)
class CompatibleOptions:
    """The checked options of the kind `compatible`.

    `api_key_header`: the header that contains only the key, or empty for `Authorization: Bearer`.
    `response_format`: the value of the field of the same name, or empty if this field is not sent.
    `sizes`: the sizes that the service accepts, or empty if it accepts every size.
    `ratios`: the aspect ratios that the service accepts, each with its value. If `ratios` is not empty, requests have
        the fields `aspect_ratio` and `resolution` instead of `size`.
    `references_as`: a key of REFERENCE_FIELDS.
    `reference_field`: the name of the form part or JSON field that contains references.
    `extra`: the additional fields of each request.
    `native_series`: true if the service generates a series in one request, with Seedream's request fields.
    `health_path`: the path of the health check on the host of the base URL, or empty if no health check is sent.
    """

    api_key_header: str = ""
    response_format: str = "b64_json"
    sizes: tuple[Size, ...] = ()
    ratios: Mapping[str, float] = field(default_factory=dict)
    references_as: str = "form"
    reference_field: str = "image[]"
    extra: Mapping[str, object] = field(default_factory=dict)
    native_series: bool = False
    health_path: str = ""


def check_compatible_options(
    *,
    api_key_header: object,
    response_format: object,
    sizes: object,
    references_as: object,
    reference_field: object,
    extra: object,
    native_series: object,
    health_path: object,
) -> CompatibleOptions:
    """Check the options. An option that is None has its default value. Raises BadOption."""
    style = "form" if references_as is None else references_as
    if not isinstance(style, str) or style not in REFERENCE_FIELDS:
        raise BadOption(f"references_as must be one of {', '.join(REFERENCE_FIELDS)}; it is {as_json(style)}")
    if reference_field is not None and (not isinstance(reference_field, str) or not reference_field):
        raise BadOption(f"reference_field must be the name of a field; it is {as_json(reference_field)}")
    if reference_field is not None and style == "objects":
        raise BadOption('reference_field is not allowed with references_as = "objects", because its names are fixed')
    if response_format is not None and response_format not in RESPONSE_FORMATS:
        raise BadOption(f'response_format must be "b64_json", "url" or ""; it is {as_json(response_format)}')
    if native_series is not None and not isinstance(native_series, bool):
        raise BadOption(f"native_series must be true or false; it is {as_json(native_series)}")
    reference_name = reference_field or REFERENCE_FIELDS[style]
    checked_sizes, ratios = _check_sizes(sizes)
    return CompatibleOptions(
        api_key_header=_check_header(api_key_header),
        response_format="b64_json" if response_format is None else str(response_format),
        sizes=checked_sizes,
        ratios=ratios,
        references_as=style,
        reference_field=reference_name,
        extra=_check_extra(extra, reference_name, series=bool(native_series)),
        native_series=bool(native_series),
        health_path=_check_health_path(health_path),
    )


def check_exact_url(value: object) -> str:
    """Return the URL without a slash at the end of its path. Raises BadOption."""
    url = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.fragment or not url.isascii() or any(c <= " " for c in url):
        shown = value.partition("?")[0] if isinstance(value, str) else value
        raise BadOption(f"base_urls: {as_json(shown)} must be an http or https URL without a user name or fragment")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def _check_header(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value) or value.lower() in _RESERVED_HEADERS:
        raise BadOption(f'api_key_header must be the name of a header, such as "api-key"; it is {as_json(value)}')
    if value.lower() == "authorization":
        raise BadOption("api_key_header must not be Authorization; omit this option to send Authorization: Bearer")
    return value


def _check_sizes(value: object) -> tuple[tuple[Size, ...], Mapping[str, float]]:
    """Return the sizes and the aspect ratios in the option `sizes`. At least one of the results is empty."""
    if value is None:
        return (), {}
    entries = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    sizes = [_SIZE.fullmatch(entry) for entry in entries if isinstance(entry, str)]
    ratios = [_RATIO.fullmatch(entry) for entry in entries if isinstance(entry, str)]
    if entries and len(sizes) == len(entries) and all(sizes):
        return tuple(Size(int(match[1]), int(match[2])) for match in sizes if match), {}
    if (
        entries
        and len(ratios) == len(entries)
        and all(match and float(match[1]) and float(match[2]) for match in ratios)
    ):
        return (), {match[0]: float(match[1]) / float(match[2]) for match in ratios if match}
    raise BadOption(
        'sizes must be a list of sizes such as ["1024x1024", "1536x1024"], or a list of aspect ratios such as '
        f'["1:1", "16:9"]; it is {as_json(value)}'
    )


def _check_extra(value: object, reference_field: str, *, series: bool) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise BadOption("extra must be a table of request fields, such as { watermark = false }")
    own = _FIELDS_OF_THE_ENGINE | {reference_field, "image", "images"} | (_SERIES_FIELDS if series else frozenset())
    if clashing := sorted(own & value.keys()):
        raise BadOption(f"extra must not contain {', '.join(clashing)}, because the engine sets these fields itself")
    if problem := _not_json(value):
        raise BadOption(f"extra must contain only values that JSON can express; {problem} is not allowed")
    return dict(value)


def _not_json(value: object) -> str:
    """Return the value inside `value` that JSON cannot express, or an empty string if there is none."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return next((problem for problem in map(_not_json, value) if problem), "")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return "" if value is None or isinstance(value, str | int | float | bool) else as_json(value)


def _check_health_path(value: object) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not value.startswith("/") or not value.isascii() or any(c <= " " for c in value):
        raise BadOption(f'health_path must be a path such as "/health", or ""; it is {as_json(value)}')
    return value


def check_max_n(value: object, default: int) -> int:
    """Return the maximum number of images per request. Raises BadOption."""
    return default if value is None else check_integer("max_n", value, 1, 10)
