"""Change a scene according to the roles of its references: scene image, style image, person and clothes."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from framehouse.domain.prompt import Cited
from framehouse.engines.image_files import decode_reference_rgb
from framehouse.engines.interface import ReferenceImage
from framehouse.engines.previz.color import Color
from framehouse.engines.previz.scene import Scene, Subject

_PALETTE_PX = 64


def apply_roles(scene: Scene, references: Sequence[ReferenceImage]) -> Scene:
    """Return a copy of the scene in which each reference plays its role. References without a role are not affected.

    A scene image becomes the background. The two main colours of a style image tint the panel. If there are images of a
    person and of clothes, the person wears the clothes. Scene images and style images are not subjects.
    """
    by_role = {reference.role: Cited("image", i) for i, reference in enumerate(references) if reference.role}
    hidden = {cited for role, cited in by_role.items() if role in ("scene", "style")}
    scene = replace(scene, subjects=_without(scene.subjects, hidden))
    if "scene" in by_role:
        scene = replace(scene, setting=by_role["scene"])
    if "style" in by_role:
        scene = replace(scene, tints=_palette(references[by_role["style"].index]))
    if "cloth" in by_role and "human" in by_role:
        cited = [subject.cited for subject in scene.subjects]
        human, cloth = cited.index(by_role["human"]), cited.index(by_role["cloth"])
        subjects = list(scene.subjects)
        subjects[cloth] = replace(subjects[cloth], relation="worn", target=human)
        scene = replace(scene, subjects=tuple(subjects))
    return scene


def _without(subjects: Sequence[Subject], hidden: set[Cited]) -> tuple[Subject, ...]:
    """Return the subjects that do not cite a reference in `hidden`. Relations to the removed subjects are also
    removed."""
    places: dict[int, int] = {}
    for index, subject in enumerate(subjects):
        if subject.cited not in hidden:
            places[index] = len(places)
    return tuple(
        replace(subject, target=places[subject.target])
        if subject.target in places
        else replace(subject, relation="", target=-1)
        for subject in subjects
        if subject.cited not in hidden
    )


def _palette(reference: ReferenceImage) -> tuple[Color, ...]:
    """Return the two most frequent colours of an image."""
    image = decode_reference_rgb(reference.content, max_px=_PALETTE_PX).quantize(4, Image.Quantize.MEDIANCUT)
    colors, palette = image.getcolors() or [], image.getpalette() or []
    frequent = sorted(colors, reverse=True)[:2]
    return tuple((palette[3 * i], palette[3 * i + 1], palette[3 * i + 2]) for _, i in frequent if isinstance(i, int))
