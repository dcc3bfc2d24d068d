"""Place the subjects in the frame, according to their relative sizes and their relations."""

from dataclasses import dataclass, replace

from framehouse.engines.previz import lexicon
from framehouse.engines.previz.backdrops import Place
from framehouse.engines.previz.pictograms import pack, pictogram
from framehouse.engines.previz.scene import Scene, Subject, stream
from framehouse.engines.previz.view import View

_ON_TABLES = tuple(
    "food drink dishware household clothing phone book-paper plant-flower computer music light-video mail money "
    "writing science medical tool sound time game award-medal office lock arts-crafts other-object event".split(" ")
)
_FLYING = ("animal-bird", "transport-air", "animal-bug", "sky-weather")
_FLYING_NAMES = set(
    "balloon kite dragon phoenix-bird person-fairy ghost baby-angel person-superhero butterfly".split(" ")
)
_GROUNDED = set(
    "chicken rooster baby-chick penguin duck swan turkey peacock flamingo ant snail beetle spider goose bug cricket "
    "scorpion owl parrot bird umbrella dodo hatching-chick front-facing-baby-chick".split(" ")
)
_BOATS = ("transport-water",)
_OVERHEAD = {"umbrella", "umbrella-with-rain-drops", "balloon", "kite"}
_ATTACHED = ("riding", "on", "in", "held", "worn")


@dataclass(frozen=True, slots=True)
class PlacedSubject:
    """A subject with its position and size, in the units of `View`.

    `x`, `base`: the coordinates of the centre of the subject's lower edge.
    `aspect`: width / height.
    `afloat`: true if the subject casts no shadow on the ground.
    `flip`: true if the drawing is mirrored.
    `dim`: the strength of the haze over the subject, from 0 to 1.
    `sunk`: the fraction of the height that is below the water.
    """

    subject: Subject
    x: float
    base: float
    height: float
    aspect: float
    afloat: bool = False
    flip: bool = False
    dim: float = 0.0
    sunk: float = 0.0

    @property
    def width(self) -> float:
        return self.height * self.aspect


def is_small(subject: Subject) -> bool:
    """Return whether the subject belongs on a table instead of on the floor."""
    return bool(subject.name) and pack()[subject.name].kind.startswith(_ON_TABLES)


def kind_of(subject: Subject) -> str:
    return pack()[subject.name].kind if subject.name else ""


def _scale(subject: Subject) -> float:
    scale = lexicon.by_kind(lexicon.SCALES, subject.name, kind_of(subject)) if subject.name else 0.85
    return float(0.62 if scale is None else scale) * subject.size


def _flies(subject: Subject) -> bool:
    return subject.name in _FLYING_NAMES or (kind_of(subject).startswith(_FLYING) and subject.name not in _GROUNDED)


def place_subjects(
    scene: Scene, view: View, place: Place, cited_aspects: dict[int, float], seed: int
) -> list[PlacedSubject]:
    """Place all subjects of a scene, and return them in drawing order, from back to front.

    `cited_aspects` maps the index of each cited subject to its aspect ratio (width / height).
    """
    subjects = list(scene.subjects)
    if not subjects:
        return []
    aspects = [cited_aspects.get(i) or pictogram(s.name).aspect for i, s in enumerate(subjects)]
    roots = [i for i, s in enumerate(subjects) if s.relation not in _ATTACHED]
    roots = roots or list(range(len(subjects)))
    placed = dict(_row(subjects, roots, aspects, view, place, seed))
    order = [(index, placed[index]) for index in roots]
    waiting = [i for i in range(len(subjects)) if i not in placed]
    # A rider must be placed before the subjects that the rider holds or wears.
    for index in sorted(waiting, key=lambda i: subjects[i].relation in ("held", "worn")):
        subject = subjects[index]
        base = placed.get(subject.target)
        if base is None:
            base = PlacedSubject(subject, view.width * 0.8, view.floor, view.hero, 1.0)
        placed[index] = attached = _attach(subject, base, aspects[index])
        at = next((n for n, (i, _) in enumerate(order) if i == subject.target), len(order) - 1)
        behind = subject.relation == "in" or (subject.relation == "held" and subject.name in _OVERHEAD)
        order.insert(at if behind else at + 1, (index, attached))
    return _repeat(_raise_in_tall_frame(order, view), view, seed)


def _raise_in_tall_frame(order: list[tuple[int, PlacedSubject]], view: View) -> list[tuple[int, PlacedSubject]]:
    """Raise a low group of subjects in a tall frame, because the space above the group would otherwise be empty."""
    top = min(subject.base - subject.height for _, subject in order)
    if not view.tall or top < view.height * 0.42:
        return order
    lift = min(top - view.height * 0.40, view.height * 0.12)
    return [(index, replace(subject, base=subject.base - lift)) for index, subject in order]


def _row(
    subjects: list[Subject], roots: list[int], aspects: list[float], view: View, place: Place, seed: int
) -> list[tuple[int, PlacedSubject]]:
    """Place the subjects with the indexes in `roots` side by side.

    A subject behind another subject is placed higher in the frame and is hazier. If there are more than two subjects
    and one row would make the subjects too small, they are placed in several rows.
    """
    scales = [_scale(subjects[i]) for i in roots]
    largest = max(scales)
    sizes = [view.hero * (s / largest) ** (0.75 if len(roots) > 1 else 0.0) for s in scales]
    if len(roots) == 1:  # a single ant is drawn smaller than a single elephant, but large enough to see
        sizes[0] *= min(1.12, max(0.62, scales[0] ** 0.32))
    widths = [
        size * min(aspects[i] * (1 + 0.55 * (subjects[i].number - 1)), 3.2)
        for size, i in zip(sizes, roots, strict=True)
    ]
    available = view.width * (
        1.04
        if view.tall and view.framing == "close-up"
        else 0.86
        if len(roots) > 1 or subjects[roots[0]].number > 1
        else 0.8
    )
    gap = min(0.05 * view.width, 40)
    total = sum(widths) + gap * (len(roots) - 1)
    if view.tall and len(roots) == 2:
        gap = -0.12 * total  # in a tall frame, two subjects overlap
        total += gap
    shrink = min(1.0, available / total)
    if shrink < 0.62 and len(roots) > 2:
        return _rows(subjects, roots, aspects, view, place)
    x = (
        min(max(view.center, total * shrink / 2 + view.width * 0.05), view.width * 0.95 - total * shrink / 2)
        - total * shrink / 2
    )
    flips = stream(seed, "flip")
    placed = []
    for n, (index, size, wide) in enumerate(zip(roots, sizes, widths, strict=True)):
        size, wide = size * shrink, wide * shrink
        subject = subjects[index]
        behind = (
            any(s.relation in ("front", "under") and s.target == index for s in subjects)
            or subject.relation == "behind"
        )
        base = view.floor
        dim = 0.0
        if behind and len(roots) > 1:
            base -= view.height * 0.055
            size *= 1.3
            dim = 0.12
        flies = _flies(subject) and view.framing != "top view" and subject.relation not in ("on", "riding")
        if flies or place.ground == "air":
            base -= view.height * (0.13 + 0.05 * (n % 2)) if view.framing != "close-up" else view.height * 0.1
        sunk = 0.0
        if place.ground == "water" and kind_of(subject).startswith((*_BOATS, "animal-marine")):
            sunk = 0.1
        turned = flips.random() < 0.35 if len(roots) == 1 else n == 0
        overlap = 0.32 if behind or any(subjects[j].relation in ("front", "under", "behind") for j in roots) else 0.0
        middle = x + wide / 2
        middle += (view.center - middle) * overlap
        placed.append(
            (
                index,
                PlacedSubject(
                    subject, middle, base, size, aspects[index], flies or place.ground == "air", turned, dim, sunk
                ),
            )
        )
        x += wide + gap * shrink
    return sorted(placed, key=lambda item: -item[1].dim)


def _rows(
    subjects: list[Subject], roots: list[int], aspects: list[float], view: View, place: Place
) -> list[tuple[int, PlacedSubject]]:
    """Place many subjects in a grid. The number of rows is chosen so that the subjects are as large as possible."""
    top, bottom = view.height * 0.13, min(view.floor, view.height * 0.86)

    def fitted(rows: int) -> tuple[float, int]:
        """Return the total height of the subjects in a grid of `rows` rows, and the number of subjects per row."""
        per_row = -(-len(roots) // rows)
        across, down = view.width * 0.88 / per_row, (bottom - top) / rows
        return sum(min(down * 0.94, across * 0.88 / aspects[i]) for i in roots), per_row

    rows = max((1, 2, 3, 4), key=lambda n: fitted(n)[0])
    per_row = fitted(rows)[1]
    rows = -(-len(roots) // per_row)
    cell_w, cell_h = view.width * 0.88 / per_row, (bottom - top) / rows
    placed = []
    for n, index in enumerate(roots):
        row, column = divmod(n, per_row)
        in_row = min(per_row, len(roots) - row * per_row)
        height = min(cell_h * 0.94, cell_w * 0.88 / aspects[index])
        x = view.width / 2 + (column - (in_row - 1) / 2) * cell_w
        afloat = row + 1 < rows or place.ground == "air"
        subject = PlacedSubject(subjects[index], x, top + cell_h * (row + 1), height, aspects[index], afloat)
        placed.append((index, subject))
    return placed


def _attach(subject: Subject, base: PlacedSubject, aspect: float) -> PlacedSubject:
    """Place a subject that is attached to the placed subject `base`.

    The relation of the subject to `base` is "riding", "on", "in", "held" or "worn".
    """
    relation, kind = subject.relation, kind_of(base.subject)
    height = base.height * min(1.15, max(0.4, _scale(subject) / max(0.2, _scale(base.subject))))
    wide = base.width
    if relation == "riding" or (relation == "on" and kind.startswith(("transport-ground", "animal-mammal"))):
        height = min(max(height, base.height * 0.62), base.height * 0.95)
        lift = (
            0.52
            if kind.startswith("animal") or base.subject.name in ("bicycle", "motor-scooter", "motorcycle", "horse")
            else 0.66
        )
        lift = 0.36 if base.subject.name in ("skateboard", "sled", "canoe", "sailboat") else lift
        return replace(
            base,
            subject=subject,
            height=height,
            aspect=aspect,
            base=base.base - base.height * lift,
            afloat=True,
            sunk=0.0,
            flip=base.flip,
        )
    if relation == "held":
        return _in_hands(subject, base, aspect)
    if relation == "worn":
        return _on_body(subject, base, aspect) if subject.cited else _on_head(subject, base, aspect)
    if relation == "in":
        height = min(height, base.height * 0.9)
        return replace(
            base,
            subject=subject,
            height=height,
            aspect=aspect,
            base=base.base - base.height * 0.42,
            afloat=True,
            sunk=0.0,
        )
    height = min(height, base.height * 0.85, wide / aspect / max(1.0, subject.number * 0.72))
    seat = {"chair": 0.5, "couch-and-lamp": 0.34, "bed": 0.4, "wood": 0.8, "rock": 0.72, "mushroom": 0.9}.get(
        base.subject.name, 0.84
    )
    return replace(
        base, subject=subject, height=height, aspect=aspect, base=base.base - base.height * seat, afloat=True, sunk=0.0
    )


def _on_body(subject: Subject, base: PlacedSubject, aspect: float) -> PlacedSubject:
    """Place clothes, which a reference image shows, on the upper part of a standing person's body."""
    height = min(base.height * 0.38, base.width * 1.25 / aspect)
    middle = base.base - base.height * 0.48
    return replace(base, subject=subject, height=height, aspect=aspect, base=middle + height / 2, afloat=True, sunk=0.0)


def _on_head(subject: Subject, base: PlacedSubject, aspect: float) -> PlacedSubject:
    """Place a hat on the head of `base`, or glasses over its eyes.

    In drawings of people and sitting animals, the head is in the upper two fifths of the drawing.
    """
    eyes = subject.name in ("glasses", "sunglasses", "goggles")
    head = min(base.width * 0.72, base.height * 0.42)
    whole = base.aspect > 0.95  # the drawing shows an animal from the side, so the head is at the front
    wide = head * (0.9 if eyes else 1.12) * (0.55 if whole else 1.0)
    height = wide / aspect
    x = base.x + (0 if not whole else base.width * 0.3 * (1 if base.flip else -1))
    top = base.base - base.height
    low = top + (base.height * 0.26 if eyes else height * 0.42 if not whole else height * 0.3)
    if subject.name == "headphone":
        low = top + height * 0.92
    return replace(
        base,
        subject=subject,
        x=x,
        base=low + (height / 2 if eyes else 0),
        height=height,
        aspect=aspect,
        afloat=True,
        sunk=0.0,
    )


def _in_hands(thing: Subject, holder: PlacedSubject, aspect: float) -> PlacedSubject:
    """Place a held subject on the side that its holder faces. Some subjects, such as an umbrella, are held above the
    head."""
    over = thing.name in _OVERHEAD
    share = 0.62 if over else min(0.62, max(0.26, _scale(thing) / max(0.2, _scale(holder.subject)) * 0.72))
    height = holder.height * share
    side = 1 if holder.flip else -1
    x = holder.x + side * holder.width * (0.2 if over else 0.4) + side * (0 if over else height * aspect * 0.22)
    base = holder.base - holder.height * (0.5 if over else 0.26)
    return replace(holder, subject=thing, x=x, base=base, height=height, aspect=aspect, afloat=True, sunk=0.0)


def _repeat(order: list[tuple[int, PlacedSubject]], view: View, seed: int) -> list[PlacedSubject]:
    """Repeat each subject `number` times. For example, two foxes become two drawings.

    The drawings differ slightly in depth and size.
    """
    placed: list[PlacedSubject] = []
    for index, one in order:
        number = one.subject.number
        if number <= 1:
            placed.append(one)
            continue
        dice = stream(seed, f"several {index}")
        shrink = min(1.0, (view.width * 0.86) / (one.width * (0.45 + 0.62 * number)))
        height = one.height * max(0.42, shrink * (1 - 0.045 * number))
        step = min(height * one.aspect * 0.86, view.width * 0.84 / number)
        copies = []
        for n in range(number):
            back = n % 2
            size = height * (dice.uniform(0.9, 1.0) - 0.14 * back)
            x = one.x + (n - (number - 1) / 2) * step
            half = size * one.aspect / 2
            x = min(max(x, half + 6), view.width - half - 6)
            copies.append(
                replace(
                    one,
                    x=x,
                    base=one.base
                    - view.height * 0.035 * back
                    - (view.height * 0.06 * dice.random() if one.afloat else 0),
                    height=size,
                    flip=dice.random() < 0.5,
                    dim=one.dim + 0.08 * back,
                )
            )
        placed += sorted(copies, key=lambda p: p.base)
    return placed
