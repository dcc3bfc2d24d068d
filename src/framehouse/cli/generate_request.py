"""Determine the kind of the request, and build the request, that the options of `framehouse generate` describe."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import click

from framehouse.cli.image_argument import cannot_read
from framehouse.domain.task_kind import TaskKind
from framehouse_client.task_request import (
    TaskOptions,
    TaskRequest,
    combine_request,
    create_request,
    expand_request,
    try_on_request,
)

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


def build_request(options: GenerateOptions, kind: TaskKind) -> TaskRequest:
    """Return the request.

    Optional fields of absent options are omitted, so that the server's defaults apply. Raises UsageError if the value
    of `--expand` is invalid. Raises Problem if an image cannot be read.
    """
    common: TaskOptions = {"model": options.model, "watermark": options.watermark, "seed": options.seed}
    try:
        match kind:
            case "try-on":
                assert options.human and options.cloth
                return try_on_request(options.human, options.cloth, options=common)
            case "expand":
                ratios = _expansion_ratios(options.expand or "")
                return expand_request(options.images[0], **ratios, prompt=options.prompt, n=options.n, options=common)
            case "multi-image2image":
                return combine_request(
                    options.subjects,
                    scene=options.scene or None,
                    style=options.style or None,
                    prompt=options.prompt,
                    n=options.n,
                    aspect_ratio=options.aspect,
                    options=common,
                )
        return create_request(
            options.prompt or "",
            images=options.images,
            elements=options.elements,
            n=options.n,
            series=int(options.series) if options.series and options.series != "auto" else bool(options.series),
            aspect_ratio=options.aspect,
            resolution=options.resolution,
            negative_prompt=options.negative_prompt,
            options=common,
        )
    except OSError as error:
        raise cannot_read(error) from error


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
        if side in ratios:
            raise click.UsageError(f'the value of --expand contains the side {side} twice: "{value}"')
        ratios[side] = float(number)
    return ratios
