"""The options of an `openai_images` route. The error for an invalid option names the option."""

from collections.abc import Mapping
from dataclasses import dataclass

from framehouse.engines.openai_images.compatible_options import (
    CompatibleOptions,
    check_compatible_options,
    check_exact_url,
    check_max_n,
)
from framehouse.engines.openai_images.server_kinds import COMPATIBLE, KINDS, ServerKind
from framehouse.engines.option_checks import (
    BadOption,
    as_json,
    check_api_key,
    check_bool,
    check_cite,
    check_distinct,
    check_integer,
    check_list,
    check_number,
    check_urls,
)
from framehouse.engines.token_prices import TokenPrices, check_token_prices

_OPENAI_URL = "https://api.openai.com/v1"
_EXAMPLE_URL = "http://gpu-1:30000/v1"
_QUALITIES = ("low", "medium", "high", "xhigh", "max", "auto")


@dataclass(frozen=True, slots=True, repr=False)
class OpenAIImagesOptions:
    """The checked options of a route. Options that are omitted have the default values for the kind of server.

    This class has no generated `__repr__` method, because its result would contain the API key. `max_n` is the maximum
    number of images per request. `compatible` is None unless the kind is `compatible`.
    """

    kind: ServerKind
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
    masks: bool
    convert_colours: bool
    max_n: int
    token_prices: TokenPrices | None
    compatible: CompatibleOptions | None


def check_options(
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
    masks: object = None,
    convert_colours: object = None,
    token_prices: object = None,
    api_key_header: object = None,
    response_format: object = None,
    sizes: object = None,
    max_n: object = None,
    references_as: object = None,
    reference_field: object = None,
    extra: object = None,
    native_series: object = None,
    health_path: object = None,
) -> OpenAIImagesOptions:
    """Check the options of a route from the configuration. Raises BadOption.

    docs/engines/openai-images.md explains the options.
    """
    server_kind = KINDS.get(kind) if isinstance(kind, str) else None
    if server_kind is None:
        raise BadOption(f"kind must be one of {', '.join(KINDS)}; it is {as_json(kind)}")
    if not server_kind.tunable and (steps is not None or guidance is not None):
        raise BadOption(f'servers of kind "{server_kind.name}" do not accept steps or guidance; remove these options')
    if quality and (server_kind.name != "openai" or quality not in _QUALITIES):
        raise BadOption(
            f'quality must be one of {", ".join(_QUALITIES)}, and is allowed only for kind "openai"; '
            f'for kind "{COMPATIBLE}", use extra'
        )
    if not isinstance(model, str) or not model:
        raise BadOption("model must be the name of the model on the server")
    uses_masks = check_bool("masks", masks, bool(server_kind.mask_part) and _model_uses_masks(server_kind, model))
    if uses_masks and not server_kind.mask_part:
        raise BadOption(f'servers of kind "{server_kind.name}" do not use masks; remove the masks option')
    only_compatible = {
        "api_key_header": api_key_header,
        "response_format": response_format,
        "sizes": sizes,
        "references_as": references_as,
        "reference_field": reference_field,
        "extra": extra,
        "native_series": native_series,
        "health_path": health_path,
    }
    compatible = _check_compatible(server_kind, only_compatible, max_n)
    reference_limit = check_integer("max_references", _or_default(max_references, server_kind.max_references), 0, 100)
    if compatible and uses_masks and compatible.references_as != "form":
        raise BadOption('masks needs references_as = "form", because a mask is sent as a form part')
    if compatible and compatible.native_series and not reference_limit:
        raise BadOption(
            "native_series needs max_references of at least 1, because missing images of a series are generated from "
            "its first image"
        )
    return OpenAIImagesOptions(
        kind=server_kind,
        urls=_check_urls(base_urls, server_kind),
        model=model,
        api_key=check_api_key(api_key),
        max_references=reference_limit,
        max_pixels=check_integer("max_pixels", _or_default(max_pixels, server_kind.max_pixels), 65_536, 100_000_000),
        concurrency=check_integer("concurrency", _or_default(concurrency, server_kind.concurrency), 1, 1000),
        steps=None if steps is None else check_integer("steps", steps, 1, 200),
        guidance=None if guidance is None else check_number("guidance", guidance, 0, 20),
        quality=str(quality or ""),
        cite=check_cite(cite),
        timeout_s=check_number("timeout_s", timeout_s, 0.1, 7200),
        paid=check_bool("paid", paid, server_kind.paid),
        probe=check_bool("probe", probe, True) and server_kind.probed,
        masks=uses_masks,
        convert_colours=check_bool("convert_colours", convert_colours, True),
        max_n=check_max_n(max_n, server_kind.max_n),
        token_prices=check_token_prices(token_prices),
        compatible=compatible,
    )


def _check_compatible(kind: ServerKind, options: Mapping[str, object], max_n: object) -> CompatibleOptions | None:
    """Return the options of the kind `compatible`, or None for another kind."""
    if kind.name == COMPATIBLE:
        return check_compatible_options(**options)
    used = [name for name, value in [*options.items(), ("max_n", max_n)] if value is not None]
    if used:
        raise BadOption(f'{used[0]} is allowed only for kind "{COMPATIBLE}"; remove this option')
    return None


def _model_uses_masks(kind: ServerKind, model: str) -> bool:
    """Return whether the model is known to use masks. vLLM-Omni uses masks only with FLUX.2 klein."""
    return kind.name == "openai" or (kind.name == "vllm_omni" and "klein" in model.lower())


def _check_urls(value: object, kind: ServerKind) -> tuple[str, ...]:
    if value is None and kind.name == "openai":
        value = [_OPENAI_URL]
    if kind.name == COMPATIBLE:
        urls = [check_exact_url(url) for url in check_list("base_urls", value, _EXAMPLE_URL)]
    else:
        urls = [url if url.endswith("/v1") else f"{url}/v1" for url in check_urls("base_urls", value, _EXAMPLE_URL)]
    return check_distinct("base_urls", urls)


def _or_default(value: object, default: int) -> object:
    return default if value is None else value
