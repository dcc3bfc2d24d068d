"""Determine the kind and the body of the request that the options of `framehouse generate` describe."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from framehouse.cli.image_argument import image_to_send
from framehouse.domain.task_kind import TaskKind

_DEFAULT_MODEL = "kling-v3-omni"
_SELECTORS: Mapping[TaskKind, tuple[str, ...]] = {
    "generations": ("--negative-prompt",),
    "multi-image2image": ("--subject", "--scene", "--style"),
    "expand": ("--expand",),
    "try-on": ("--human", "--cloth"),
}
"""The options that select a kind of request. Without these options, the kind is omni-image."""
_NOT_ALLOWED: Mapping[TaskKind, tuple[str, ...]] = {
    "omni-image": (),
    "generations": ("--series",),
    "multi-image2image": ("--image", "--element", "--series", "--resolution"),
    "expand": ("--element", "--series", "--resolution", "--aspect"),
    "try-on": ("PROMPT", "--image", "--element", "--series", "--resolution", "--aspect", "-n"),
}
_SIDES = ("up", "down", "left", "right")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """The options of `framehouse generate` that describe the request.

    None or an empty value means that the option is absent.
    """

    prompt: str | None = None
    images: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    negative_prompt: str | None = None
    subjects: tuple[str, ...] = ()
    scene: str | None = None
    style: str | None = None
    expand: str | None = None
    human: str | None = None
    cloth: str | None = None
    series: str | None = None
    n: int | None = None
    aspect: str | None = None
    resolution: str | None = None
    watermark: bool = False
    seed: int | None = None
    model: str | None = None

    def given(self) -> set[str]:
        """Return the names of the options that are present, as a user types them.

        The result omits --watermark, --seed and --model, because every kind of request allows these options.
        """
        values: dict[str, object] = {
            "PROMPT": self.prompt,
            "--image": self.images,
            "--element": self.elements,
            "--negative-prompt": self.negative_prompt,
            "--subject": self.subjects,
            "--scene": self.scene,
            "--style": self.style,
            "--expand": self.expand,
            "--human": self.human,
            "--cloth": self.cloth,
            "--series": self.series,
            "-n": self.n,
            "--aspect": self.aspect,
            "--resolution": self.resolution,
        }
        return {name for name, value in values.items() if value not in (None, "", ())}


def request_kind(options: GenerateOptions) -> TaskKind:
    """Return the kind of request that the options select. Raises UsageError if the options contradict each other."""
    given = options.given()
    selected = {
        kind: next(name for name in names if name in given)
        for kind, names in _SELECTORS.items()
        if given.intersection(names)
    }
    if len(selected) > 1:
        first, second, *_ = selected.values()
        raise click.UsageError(f"{first} and {second} cannot be used together, because they need different endpoints")
    kind: TaskKind = next(iter(selected), "omni-image")
    if unusable := [name for name in _NOT_ALLOWED[kind] if name in given]:
        raise click.UsageError(f"{', '.join(unusable)} cannot be used together with {selected[kind]}")
    if options.series is not None and options.n is not None:
        raise click.UsageError("use --series or -n, not both; for a series of five images: --series 5")
    if options.series not in (None, "auto") and not re.fullmatch(r"[2-9]", options.series or ""):
        raise click.UsageError(
            f'the value of --series must be a number from 2 to 9 or be omitted, not "{options.series}"'
        )
    if kind in ("omni-image", "generations") and options.prompt is None:
        raise click.UsageError("Missing argument 'PROMPT'.")
    if kind == "multi-image2image" and not options.subjects:
        raise click.UsageError(f"{selected[kind]} requires --subject")
    if kind == "expand" and len(options.images) != 1:
        raise click.UsageError(f"--expand requires exactly one --image, not {len(options.images)}")
    if kind == "try-on" and not (options.human and options.cloth):
        raise click.UsageError("--human and --cloth must be used together")
    return kind


def request_body(options: GenerateOptions, kind: TaskKind) -> dict[str, Any]:
    """Return the body of the request.

    Optional fields of absent options are omitted, so that the server's defaults apply. Raises UsageError if the value
    of `--expand` is invalid. Raises Problem if an image cannot be read.
    """
    model = options.model or (_DEFAULT_MODEL if kind == "omni-image" else None)
    optional = {
        "model_name": model,
        "prompt": options.prompt,
        "negative_prompt": options.negative_prompt,
        "aspect_ratio": options.aspect,
        "resolution": options.resolution,
        "seed": options.seed,
    }
    body: dict[str, Any] = {name: value for name, value in optional.items() if value is not None}
    body["watermark_info"] = {"enabled": options.watermark}
    if options.elements:
        body["element_list"] = [{"element_id": element} for element in options.elements]
    if options.series:
        return body | {"image_list": _image_list(options), "result_type": "series", "series_amount": options.series}
    if kind == "try-on":
        assert options.human and options.cloth
        return body | {"human_image": image_to_send(options.human), "cloth_image": image_to_send(options.cloth)}
    body["n"] = options.n or 1
    if kind == "omni-image":
        return body | {"image_list": _image_list(options), "result_type": "single"}
    if kind == "expand":
        return body | _expansion_ratios(options.expand or "") | {"image": image_to_send(options.images[0])}
    if kind == "generations":
        # The Kling API allows only one image in this request. Sending more than one image is an extension.
        if len(options.images) == 1:
            return body | {"image": image_to_send(options.images[0])}
        return body | ({"image_list": _image_list(options)} if options.images else {})
    body["subject_image_list"] = [{"subject_image": image_to_send(subject)} for subject in options.subjects]
    named = {"scene_image": options.scene, "style_image": options.style}
    return body | {name: image_to_send(image) for name, image in named.items() if image}


def _image_list(options: GenerateOptions) -> list[dict[str, str]]:
    return [{"image": image_to_send(image)} for image in options.images]


def _expansion_ratios(value: str) -> dict[str, float]:
    """Read the value of `--expand`, for example `left=0.5,right=0.5`. Raises UsageError if the value is invalid."""
    ratios = {}
    for part in value.split(","):
        side, _, number = (text.strip() for text in part.partition("="))
        if side not in _SIDES or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?|\.[0-9]{1,9}", number):
            raise click.UsageError(
                f'the value of --expand must contain sides and ratios, such as "left=0.5,right=0.5", not "{value}"; '
                f"the sides are {', '.join(_SIDES)}"
            )
        if f"{side}_expansion_ratio" in ratios:
            raise click.UsageError(f'the value of --expand contains the side {side} twice: "{value}"')
        ratios[f"{side}_expansion_ratio"] = float(number)
    return ratios
