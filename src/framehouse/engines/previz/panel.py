"""Draw one storyboard panel from the prompt of a shot."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from framehouse.domain.prompt import Cited, prompt_parts
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.interface import ReferenceImage, SavedElement
from framehouse.engines.previz import lexicon
from framehouse.engines.previz.backdrops import PLACES, Stage, draw_spot
from framehouse.engines.previz.backdrops.beyond import moon_ground
from framehouse.engines.previz.backdrops.rooms import table
from framehouse.engines.previz.backdrops.shores import quay
from framehouse.engines.previz.backdrops.studio import cylinder, studio_hues
from framehouse.engines.previz.color import Color
from framehouse.engines.previz.cutouts import background_of, sprite_aspect, sprite_of
from framehouse.engines.previz.front import draw_front
from framehouse.engines.previz.lettering import draw_missing_cards, draw_texts
from framehouse.engines.previz.light import light_of
from framehouse.engines.previz.pictograms import is_dressed, pack, raster
from framehouse.engines.previz.reading import read_scene, without_items
from framehouse.engines.previz.roles import apply_roles
from framehouse.engines.previz.sandbox import without_triggers
from framehouse.engines.previz.scene import Scene, Subject, stream
from framehouse.engines.previz.sprites import (
    Pixels,
    drop_shadow,
    enlarged,
    glow,
    grain,
    lay,
    lit_windows,
    recolored,
    shade,
    tone_of,
)
from framehouse.engines.previz.styles import STYLES
from framehouse.engines.previz.subjects import PlacedSubject, is_small, kind_of, place_subjects
from framehouse.engines.previz.vector import Drawing
from framehouse.engines.previz.view import SHORT_SIDE, view_of

_SCENERY_PX = 1_800_000
"""The scenery is drawn with at most this many pixels, and is then enlarged.

The limit saves time, and no details are lost, because the scenery has no fine details. Subjects and text are drawn at
full size.
"""
_STYLED_PX = 1_100_000
"""The scenery and subjects of a styled panel are drawn with at most this many pixels, and are then enlarged.

A higher limit would not add details, because the strokes of a style have a fixed width relative to the image.
"""
_FOLIAGE: dict[str, Color] = {"spring": (244, 172, 198), "autumn": (226, 126, 52), "winter": (226, 234, 244)}
_LAMP: Color = (255, 206, 112)
_BUILDINGS = set("hut house house-with-garden houses castle church hotel japanese-castle school".split(" "))
_PRODUCTS = ("lotion-bottle", "perfume", "running-shoe", "headphone", "handbag", "watch", "camera")


def draw_panel(
    shot: Shot,
    count: int,
    size: Size,
    references: Sequence[ReferenceImage] = (),
    elements: Sequence[SavedElement] = (),
    *,
    negative_prompt: str = "",
    patch: bool = False,
) -> Pixels:
    """Draw a panel and return an RGB array of shape (height, width, 3).

    `count` is the total number of images in the task. `negative_prompt` lists the subjects and weather conditions that
    must not be drawn. If `patch` is true, the panel replaces an area of the scene image. Its subjects then fill the
    panel, and it has no text and no style. The same arguments always produce the same pixels. Blocks the calling
    thread, but releases the GIL during long operations. Raises Broken if a reference cannot be decoded.
    """
    parts = prompt_parts(without_triggers(shot.prompt), images=len(references), elements=len(elements))
    seed = shot.seed - shot.index if shot.framing else shot.seed
    scene = read_scene((*parts, *without_items(negative_prompt)), caption=_caption(parts))
    named_backdrop = scene.backdrop
    scene = _complete(scene, seed, len(references), len(elements))
    scene = apply_roles(scene, references)
    if patch and named_backdrop and not scene.subjects:
        scene = replace(scene, setting=None)
    images = {Cited("image", i): reference for i, reference in enumerate(references)}
    images |= {Cited("element", i): element.images[0] for i, element in enumerate(elements)}
    framing = shot.framing or scene.framing
    view, light = view_of(size, framing, shot.seed), light_of(scene, seed)
    if patch:
        view = replace(view, floor=view.height * 0.95, hero=view.height * 0.86, center=view.width / 2, focus=0.0)
    place = PLACES[scene.backdrop]
    if _needs_low_floor(scene, place.ground):
        view = replace(view, floor=min(view.floor, view.height * 0.9))
    styled = None if patch else STYLES.get(scene.style)
    work = min(1.0, math.sqrt((_STYLED_PX if styled else _SCENERY_PX) / (size.width * size.height)))
    width, height = round(size.width * work), round(size.height * work)

    stage = Stage(Drawing(view.width, view.height), view, light, scene, seed, shot.seed)
    place.draw(stage)
    cited_aspects = {i: sprite_aspect(images[s.cited]) for i, s in enumerate(scene.subjects) if s.cited}
    placed = place_subjects(scene, view, place, cited_aspects, shot.seed)
    if stage.from_above and placed and place.ground != "air":
        draw_spot(stage)
    _draw_support(stage, place.ground, placed)
    if scene.setting:
        scenery = Image.fromarray(background_of(images[scene.setting], width, height))
    else:
        scenery = Image.fromarray(stage.d.pixels(width, height)).convert("RGB")
    focus = view.focus + (3.0 if scene.style == "photo" else 0.0)
    if focus and placed:
        scenery = scenery.filter(ImageFilter.GaussianBlur(focus * min(width, height) / SHORT_SIDE))
    canvas = np.array(scenery)
    del scenery
    if patch:
        grain(canvas, shot.seed, vignette=0)
    else:
        grain(canvas, shot.seed)

    if not styled and (width, height) != size:
        canvas = enlarged(canvas, size, Image.Resampling.BILINEAR)
    scale = canvas.shape[0] / view.height
    for placed_subject in placed:
        _draw_subject(canvas, placed_subject, scale, stage, images)
    draw_front(canvas, stage)
    if styled:
        canvas = styled.apply(canvas, shot.seed)
        if (width, height) != size:
            resampling = Image.Resampling.NEAREST if scene.style == "pixel" else Image.Resampling.BICUBIC
            canvas = enlarged(canvas, size, resampling)
    if scene.chips and not placed:
        draw_missing_cards(canvas, scene.chips, tone_of(light))
    if patch:
        return canvas
    draw_texts(
        canvas,
        scene.caption,
        scene.chips if placed else (),
        f"{shot.index + 1}/{count}  {(framing or 'medium wide').upper()}  ·  PREVIEW",
        tone_of(light),
        boxed=bool(styled and styled.paper),
        inset=styled.inset if styled else 0.0,
    )
    return canvas


def _caption(parts: Sequence[str | Cited]) -> str:
    words = (part if isinstance(part, str) else f"[{part.kind}_{part.index + 1}]" for part in parts)
    return " ".join("".join(words).split())


def _complete(scene: Scene, seed: int, references: int, elements: int) -> Scene:
    """Add the subjects and the backdrop that are missing from a scene because the prompt does not specify them.

    References and elements that the prompt does not cite become subjects. If the prompt specifies no backdrop, a
    backdrop is chosen. If the backdrop is the studio and there are no subjects, a product is added, unless the prompt
    specifies a time of day, the weather or a season.
    """
    cited = {subject.cited for subject in scene.subjects} | {scene.setting}
    sent = [Cited("image", i) for i in range(references)] + [Cited("element", i) for i in range(elements)]
    subjects = (*scene.subjects, *(Subject(cited=citation) for citation in sent if citation not in cited))
    backdrop = scene.backdrop
    if not subjects and backdrop in ("", "studio") and (backdrop or not scene.chips) and not _has_conditions(scene):
        product = "product" in scene.caption.lower() or "产品" in scene.caption or "商品" in scene.caption
        backdrop = "studio" if product else backdrop
        if backdrop == "studio":
            subjects = (Subject(_PRODUCTS[0] if product else stream(seed, "product").choice(_PRODUCTS)),)
    if not backdrop:
        backdrop = _default_backdrop(subjects, scene, seed)
    return replace(scene, subjects=subjects, backdrop=backdrop)


def _has_conditions(scene: Scene) -> bool:
    """Return whether the prompt specifies a time of day, the weather or a season."""
    return bool(scene.time or scene.weather or scene.season)


def _default_backdrop(subjects: Sequence[Subject], scene: Scene, seed: int) -> str:
    """Choose a backdrop that is typical of the first subject with a pictogram.

    If there are subjects but none has a pictogram, the backdrop is the studio. If there are no subjects, the backdrop
    is an outdoor place.
    """
    choice = stream(seed, "backdrop")
    for subject in subjects:
        if subject.name:
            kind = pack()[subject.name].kind
            homes = (lexicon.by_kind(lexicon.HOMES, subject.name, kind) or "studio meadow").split()
            if scene.weather or scene.season in ("spring", "autumn", "winter"):
                homes = [home for home in homes if not PLACES[home].indoors] or ["meadow", "street", "mountain"]
            return str(choice.choice(homes))
    if subjects:
        return "studio"
    if scene.style == "neon":
        return "city"
    return choice.choice(("mountain", "meadow", "sea", "forest", "city"))


def _needs_low_floor(scene: Scene, ground: str) -> bool:
    return ground in ("podium", "table") and bool(scene.subjects)


def _draw_support(stage: Stage, ground: str, placed: Sequence[PlacedSubject]) -> None:
    """Draw a podium, a table, a quay or moon dust below the subjects, depending on the place."""
    standing = [subject for subject in placed if not subject.afloat and not subject.sunk]
    view = stage.view
    if stage.from_above or not placed:
        return
    if ground == "podium" and standing:
        wall, pale = studio_hues(stage)
        left = min(subject.x - subject.width / 2 for subject in standing)
        right = max(subject.x + subject.width / 2 for subject in standing)
        half = max(90.0, (right - left) * 0.5 + 46)
        if view.framing != "close-up" or half < view.width * 0.45:
            cylinder(stage, (left + right) / 2, view.floor + half * 0.08 + 38, half, 44, pale, wall)
    elif ground == "table" and standing and all(is_small(s.subject) or s.subject.cited for s in standing):
        table(stage, view.floor, countertop=stage.scene.backdrop == "kitchen")
    elif ground == "water" and standing:
        quay(stage, view.floor)
    elif ground == "moon" and any(not kind_of(s.subject).startswith(("transport-air", "sky-weather")) for s in placed):
        moon_ground(stage, view.floor)


def _draw_subject(
    canvas: Pixels, placed: PlacedSubject, scale: float, stage: Stage, images: dict[Cited, ReferenceImage]
) -> None:
    """Draw one subject with its shadow."""
    subject, light = placed.subject, stage.light
    height = max(12, round(placed.height * scale))
    x, base = placed.x * scale, placed.base * scale
    lit = True
    if subject.cited:
        sprite, cut = sprite_of(images[subject.cited], height)
        lit = cut and light.time != "day"
    else:
        person = is_dressed(subject.name)
        sprite = raster(subject.name, subject.color if person else None, height)
        color = subject.color or (_FOLIAGE.get(stage.season) if subject.name == "deciduous-tree" else None)
        if color and not person:
            sprite = recolored(sprite, color, subject.material)
    if placed.flip and not subject.cited:
        sprite = sprite[:, ::-1]
    wide = sprite.shape[1]
    if placed.sunk:
        sprite = sprite[: round(height * (1 - placed.sunk))]
    left, top = round(x - wide / 2), round(base - sprite.shape[0])
    if stage.from_above:
        drop_shadow(canvas, sprite, left + round(height * 0.07), top + round(height * 0.09), height / 22)
        lay(canvas, sprite, left, top, light, dim=placed.dim, lit=lit)
        return
    if not placed.afloat and not placed.sunk:
        soft = 0.42 if not light.dark else 0.5
        flat = wide * 0.075
        shade(canvas, x + wide * 0.06, base, wide * 0.62, max(4, flat * 1.7), soft * 0.7)
        shade(canvas, x, base - flat * 0.1, wide * 0.42, max(3, flat * 0.7), soft)
    elif placed.sunk:
        shade(canvas, x, base + 2, wide * 0.56, max(4, wide * 0.05), 0.4)
    lay(canvas, sprite, left, top, light, dim=placed.dim, lit=lit)
    if light.dark and subject.name in _BUILDINGS:
        glow(canvas, x, base - height * 0.2, height * 0.8, _LAMP, 0.5)
        lay(canvas, lit_windows(sprite, _LAMP), left, top, light, lit=False)
