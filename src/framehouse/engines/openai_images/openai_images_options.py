"""The options of a route to model servers, each checked with a sentence that names it."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from framehouse.engines.openai_images.server_kinds import KINDS, Kind
from framehouse.engines.option_checks import BadOption, check_cite, check_number, check_whole

_OPENAI = "https://api.openai.com/v1"
_QUALITIES = ("low", "medium", "high", "xhigh", "max", "auto")


@dataclass(frozen=True, slots=True, repr=False)
class Options:
    """A route's options, checked, with the defaults of its kind. Not shown by repr: the key is among them."""

    kind: Kind
    urls: tuple[str, ...]
    model: str
    api_key: str
    max_references: int
    max_pixels: int
    concurrency: int
    steps: int | None
    guidance: float | None
    quality: str
    cite: str
    timeout_s: float
    paid: bool
    probe: bool


def checked_options(
    *,
    kind: object,
    model: object,
    base_urls: object = None,
    api_key: object = "",
    max_references: object = None,
    max_pixels: object = None,
    concurrency: object = None,
    steps: object = None,
    guidance: object = None,
    quality: object = "",
    cite: object = "image {}",
    timeout_s: object = 600,
    paid: object = None,
    probe: object = None,
) -> Options:
    """A route's options as they stand in the configuration; docs/openai-images.md tells what they mean. Raises
    BadOption."""
    known = KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise BadOption(f'kind must be one of {", ".join(KINDS)}; it is "{kind}"')
    if not known.tuned and (steps is not None or guidance is not None):
        raise BadOption(f'steps and guidance are not known to servers of kind "{known.name}"; leave them out')
    if quality and (known.name != "openai" or quality not in _QUALITIES):
        raise BadOption(f'quality must be one of {", ".join(_QUALITIES)}, and is for kind "openai" alone')
    if not isinstance(model, str) or not model:
        raise BadOption("model must be the name by which the server knows its model")
    if not isinstance(api_key, str) or not api_key.isascii() or any(c <= " " for c in api_key):
        raise BadOption("api_key must be ASCII characters without blanks, or empty for none")
    return Options(
        kind=known,
        urls=_urls(base_urls, known),
        model=model,
        api_key=api_key,
        max_references=check_whole(
            "max_references", known.max_references if max_references is None else max_references, 0, 100
        ),
        max_pixels=check_whole(
            "max_pixels", known.max_pixels if max_pixels is None else max_pixels, 65_536, 100_000_000
        ),
        concurrency=check_whole("concurrency", _or(concurrency, known.concurrency), 1, 1000),
        steps=None if steps is None else check_whole("steps", steps, 1, 200),
        guidance=None if guidance is None else check_number("guidance", guidance, 0, 20),
        quality=str(quality or ""),
        cite=check_cite(cite),
        timeout_s=check_number("timeout_s", timeout_s, 0.1, 7200),
        paid=_truth("paid", paid, known.paid),
        probe=_truth("probe", probe, True) and known.name != "openai",
    )


def _urls(value: object, kind: Kind) -> tuple[str, ...]:
    if value is None and kind.name == "openai":
        value = [_OPENAI]
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise BadOption('base_urls must be a list of at least one URL, such as ["http://gpu-1:30000/v1"]')
    urls = [_url(one) for one in value]
    if len(set(urls)) < len(urls):
        raise BadOption("base_urls names a server twice")
    return tuple(urls)


def _url(value: object) -> str:
    """Without a slash at the end, and ending in /v1."""
    url = value.strip().rstrip("/") if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise BadOption(f'base_urls: "{value}" is not an http(s) URL without user name, query and fragment')
    return url if url.endswith("/v1") else f"{url}/v1"


def _or(value: object, default: int) -> object:
    return default if value is None else value


def _truth(name: str, value: object, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadOption(f"{name} must be true or false; it is {value!r}")
    return value
