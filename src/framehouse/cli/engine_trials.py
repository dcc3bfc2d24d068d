"""The trials of `framehouse engine test`: what an engine must generate, and what an operator should change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from PIL import Image

from framehouse.adapters.presets import preset_image, presets
from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import Size, size_of
from framehouse.domain.task import RequestOptions
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import Abilities, Batch, ReferenceImage

_SUBJECT, _OBJECT = 102, 103
"""The ids of the presets (corgi and mug) that the trials use as references."""
_FLAT = 2.0
"""An image whose values have a smaller standard deviation shows nothing."""
_SEED = 20_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One call of an engine. `batch` is None if the engine cannot do this, for the reason in `not_possible`."""

    name: str
    batch: Batch | None
    not_possible: str = ""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial.

    `seconds`: the time of the whole call.
    `progress_events`: how many times the engine reported progress.
    `sizes`: the sizes of the images that the engine returned. `deviations`: the standard deviations of their values.
    `error`: the error message, if the engine failed. `skipped`: the reason why the trial was not possible.
    """

    name: str
    seconds: float = 0.0
    progress_events: int = 0
    sizes: tuple[Size, ...] = ()
    deviations: tuple[float, ...] = ()
    error: str = ""
    skipped: str = ""


def plan_trials(abilities: Abilities, *, model: str, loads: bool, images: int = 0) -> list[Trial]:
    """Return the trials for an engine with these abilities.

    Each trial has a different kind: text, two references, series, 2k, expansion and mask. If the engine loads a model
    (`loads`), an additional first trial takes the time for loading. If `images` is not 0, the last trial generates this
    number of images, to measure the speed.
    """
    corgi, mug = _reference(_SUBJECT), _reference(_OBJECT)
    street = "A red bicycle with a wicker basket leans against a yellow wall in the morning light"
    text = _batch(street, model=model)
    together = _batch("The corgi of <<<image_1>>> sits next to the mug of <<<image_2>>> on a table", model=model)
    series = _batch("A small wooden boat crosses a calm lake", model=model, count=3, series=True)
    size, box = layout(Expansion(left=0.5, right=0.5), corgi.width, corgi.height)
    expansion = replace(
        _batch("A garden", model=model, size=size),
        references=(replace(corgi, role="original"),),
        kind="expand",
        options=RequestOptions(expansion=Expansion(left=0.5, right=0.5)),
        box=box,
    )
    two_references = Trial("two references", replace(together, references=(corgi, mug)))
    if abilities.max_references < 2:
        reason = f"the engine accepts {abilities.max_references or 'no'} references"
        two_references = Trial("two references", None, reason)
    large = _batch(street, model=model, size=size_of("3:2", "2k"))
    if abilities.needs_reference:
        text, series, large = (_with_reference(batch, corgi) for batch in (text, series, large))
    trials = [
        *[Trial("first image, with loading the model", text)] * loads,
        Trial("text and a reference" if abilities.needs_reference else "text", text),
        two_references,
        Trial("series", series),
        Trial("2k", large),
        Trial("expansion", expansion)
        if abilities.expansions
        else Trial("expansion", None, "the engine does not expand images"),
        Trial("mask", _masked_edit(corgi, model))
        if abilities.masks
        else Trial("mask", None, "the engine does not use masks"),
    ]
    if images:
        many = _batch(street, model=model, count=images)
        trials.append(Trial(f"{images} images", _with_reference(many, corgi) if abilities.needs_reference else many))
    return trials


def simple_batch(abilities: Abilities, *, model: str) -> Batch:
    """Return the simplest input for an engine: one image from text, or from a reference if the engine needs one."""
    batch = plan_trials(abilities, model=model, loads=False)[0].batch
    assert batch
    return batch


def advice(trials: Sequence[Trial], results: Sequence[TrialResult], *, max_batch: int) -> list[str]:
    """Return what an operator should change, one sentence per problem. A problem names all trials that have it."""
    names: dict[str, list[str]] = {}
    for trial, result in zip(trials, results, strict=True):
        if problem := _problem_of(trial, result):
            names.setdefault(problem, []).append(result.name)
    changes = [f"{', '.join(of_problem)}: {problem}" for problem, of_problem in names.items()]
    done = [result for result in results if result.sizes]
    if done and not any(result.progress_events for result in done):
        changes.append("The engine reports no progress, so clients see 0 % until an image is finished.")
    alone = next((r for r in reversed(done) if len(r.sizes) == 1), None)
    many = next((r for r in done if len(r.sizes) >= 4), None)
    if alone and many and max_batch > 1 and many.seconds / len(many.sizes) > alone.seconds:
        changes.append(f"{many.name}: each image takes longer than an image alone. Try a smaller batch.")
    return changes


def _problem_of(trial: Trial, result: TrialResult) -> str:
    """Return the problem of a trial, or an empty string."""
    if result.error:
        return result.error
    if any(deviation < _FLAT for deviation in result.deviations):
        return "an image has a single colour. Try another dtype, or more steps."
    if trial.batch and any(_is_smaller(size, trial.batch.size) for size in result.sizes):
        got, wanted = result.sizes[0], trial.batch.size
        return (
            f"the engine generates {got.width}x{got.height} instead of {wanted.width}x{wanted.height}, and Framehouse "
            "enlarges the image."
        )
    return ""


def _is_smaller(size: Size, wanted: Size) -> bool:
    return size.width < wanted.width and size.height < wanted.height


def _masked_edit(image: ReferenceImage, model: str) -> Batch:
    """Return the input for an edit of the upper third of an image."""
    mask = Image.new("L", (image.width, image.height), 0)
    mask.paste(255, (0, 0, image.width, image.height // 3))
    edited = ReferenceImage(png_file(mask), image.width, image.height, "mask")
    batch = _batch("A red hat", model=model, size=size_of("1:1", "1k"))
    return replace(batch, references=(image,), mask=edited)


def _with_reference(batch: Batch, reference: ReferenceImage) -> Batch:
    prompt = f"{batch.prompt}, with the corgi of <<<image_1>>>"
    shots = tuple(replace(shot, prompt=prompt) for shot in batch.shots)
    return replace(batch, references=(reference,), prompt=prompt, shots=shots)


def _batch(prompt: str, *, model: str, count: int = 1, size: Size | None = None, series: bool = False) -> Batch:
    shots = tuple(
        Shot(index, prompt, FRAMINGS[index % len(FRAMINGS)] if series else "", _SEED + index) for index in range(count)
    )
    return Batch(str(uuid4()), shots, count, size or size_of("3:2", "1k"), model=model, prompt=prompt, series=series)


def _reference(preset: int) -> ReferenceImage:
    image = presets()[preset].images[0]
    return ReferenceImage(preset_image(image.key), image.width, image.height)
