"""Where the subjects stand in the frame: sizes among each other, relations, rows."""

from dataclasses import dataclass, replace

from framehouse.adapters.engines.previz.backdrops import Place
from framehouse.adapters.engines.previz.pictograms import pack, pictogram
from framehouse.adapters.engines.previz.scene import Scene, Subject, stream
from framehouse.adapters.engines.previz.view import View

_SCALES = {
    "animal-bug": 0.42, "animal-bird": 0.6, "animal-mammal": 0.86, "animal-marine": 0.72, "animal-amphibian": 0.5,
    "animal-reptile": 0.8, "plant-flower": 0.56, "plant-other": 0.95, "food": 0.5, "drink": 0.5, "dishware": 0.5,
    "transport-ground": 1.0, "transport-water": 0.95, "transport-air": 0.9, "place-building": 1.45, "place-religious": 1.45,
    "place-other": 1.3, "place-geographic": 1.2, "person": 1.0, "family": 1.0, "sport": 0.5, "musical-instrument": 0.7,
    "clothing": 0.6, "household": 0.7, "sky-weather": 0.8,
}  # fmt: skip
_OWN_SCALES = {
    "cat": 0.6, "dog": 0.7, "rabbit": 0.5, "mouse": 0.36, "fox": 0.62, "elephant": 1.35, "giraffe": 1.5, "sauropod": 1.5, "t-rex": 1.35,
    "spouting-whale": 1.3, "dragon": 1.35, "horse": 1.05, "unicorn": 1.05, "bicycle": 0.78, "bus": 1.3, "locomotive": 1.25, "airplane": 1.1,
    "ship": 1.3, "rocket": 1.2, "child": 0.78, "boy": 0.8, "girl": 0.8, "baby": 0.55, "deciduous-tree": 1.5, "evergreen-tree": 1.5,
    "palm-tree": 1.5, "christmas-tree": 1.4, "mushroom": 0.5, "umbrella": 0.7, "couch-and-lamp": 1.05, "chair": 0.8, "bed": 1.0,
    "motor-scooter": 0.8, "skateboard": 0.36, "ferris-wheel": 1.5, "volcano": 1.6, "robot": 0.95, "fire": 0.6, "crown": 0.4, "ring": 0.3,
    "hot-beverage": 0.42, "balloon": 0.6, "kite": 0.6, "lipstick": 0.5, "open-book": 0.5, "microphone": 0.45, "tent": 1.0, "hut": 1.3,
}  # fmt: skip
_TO_SMALL_PLACES = ("food", "drink", "dishware", "household", "clothing", "phone", "book-paper", "plant-flower", "computer",
                    "music", "light-video", "mail", "money", "writing", "science", "medical", "tool", "sound", "time", "game",
                    "award-medal", "office", "lock", "arts-crafts", "other-object", "event")  # fmt: skip
_FLYING = ("animal-bird", "transport-air", "animal-bug", "sky-weather")
_FLYING_NAMES = {"balloon", "kite", "dragon", "phoenix-bird", "person-fairy", "ghost", "baby-angel", "person-superhero", "butterfly"}
_GROUNDED = {"chicken", "rooster", "baby-chick", "penguin", "duck", "swan", "turkey", "peacock", "flamingo", "ant", "snail", "beetle",
             "spider", "goose", "ladybug", "caterpillar", "bug", "cricket", "scorpion", "owl", "parrot", "bird", "umbrella"}  # fmt: skip
_BOATS = ("transport-water",)


@dataclass(frozen=True, slots=True)
class Placed:
    """A subject in the frame: the middle of its lower edge, its height, all in units. Later ones are nearer.
    `afloat`: it has no ground to throw a shadow on; `flip`: mirrored; `dim`: lost in haze, 0 to 1."""

    subject: Subject
    x: float
    base: float
    height: float
    shape: float
    afloat: bool = False
    flip: bool = False
    dim: float = 0.0
    sunk: float = 0.0

    @property
    def width(self) -> float:
        return self.height * self.shape


def is_small(subject: Subject) -> bool:
    """Whether it belongs on a table rather than on the floor."""
    return bool(subject.name) and pack()[subject.name].kind.startswith(_TO_SMALL_PLACES)


def kind_of(subject: Subject) -> str:
    return pack()[subject.name].kind if subject.name else ""


def _scale(subject: Subject) -> float:
    kind = kind_of(subject)
    own = _OWN_SCALES.get(subject.name)
    if own is None:
        own = next((scale for start, scale in _SCALES.items() if kind.startswith(start)), 0.62 if subject.name else 0.85)
    return own * subject.size


def _flies(subject: Subject) -> bool:
    return subject.name in _FLYING_NAMES or (kind_of(subject).startswith(_FLYING) and subject.name not in _GROUNDED)


def arrange(scene: Scene, view: View, place: Place, shapes: dict[int, float], seed: int) -> list[Placed]:
    """All subjects of a scene, back to front. `shapes` are width by height of the cited ones, by subject index."""
    subjects = list(scene.subjects)
    if not subjects:
        return []
    shape = [shapes.get(i) or pictogram(s.name).shape for i, s in enumerate(subjects)]
    attached = {i for i, s in enumerate(subjects) if s.relation in ("riding", "on", "holding", "in")}
    held = {s.target for s in subjects if s.relation == "holding"}
    roots = [i for i in range(len(subjects)) if i not in held and not (i in attached and subjects[i].relation in ("riding", "on", "in"))]
    if not roots:
        roots, attached = list(range(len(subjects))), set()
    placed = {p_index: p for p_index, p in _row(subjects, roots, shape, scene, view, place, seed)}
    order: list[tuple[int, Placed]] = []
    for index in roots:
        order.append((index, placed[index]))
    for index, subject in enumerate(subjects):
        if index in placed and subject.relation != "holding":
            continue
        base = placed.get(subject.target)
        if index in placed:
            _give(index, subject, subjects, shape, placed, order)
        elif base is not None:
            made = _upon(subject, base, shape[index])
            placed[index] = made
            at = next(n for n, (i, _) in enumerate(order) if i == subject.target)
            order.insert(at if subject.relation == "in" else at + 1, (index, made))
    missing = [i for i in range(len(subjects)) if i not in placed]
    for index in missing:
        made = Placed(subjects[index], view.width * 0.8, view.floor, view.hero * 0.4, shape[index])
        order.append((index, made))
    return _several(order, view, seed)


def _row(subjects: list[Subject], roots: list[int], shape: list[float], scene: Scene, view: View, place: Place, seed: int) -> list[tuple[int, Placed]]:
    """Those that stand by themselves, side by side; those behind are higher up and farther away."""
    scales = [_scale(subjects[i]) for i in roots]
    largest = max(scales)
    sizes = [view.hero * (s / largest) ** (0.75 if len(roots) > 1 else 0.0) for s in scales]
    if len(roots) == 1:  # alone, an ant is still smaller than an elephant, but not lost
        sizes[0] *= min(1.12, max(0.62, scales[0] ** 0.32))
    widths = [size * min(shape[i] * (1 + 0.55 * (subjects[i].number - 1)), 3.2) for size, i in zip(sizes, roots, strict=True)]
    room = view.width * (0.86 if len(roots) > 1 or subjects[roots[0]].number > 1 else 0.8)
    gap = min(0.05 * view.width, 40)
    total = sum(widths) + gap * (len(roots) - 1)
    shrink = min(1.0, room / total)
    if shrink < 0.62 and len(roots) > 2:
        return _two_rows(subjects, roots, shape, sizes, view, place)
    x = min(max(view.center, total * shrink / 2 + view.width * 0.05), view.width * 0.95 - total * shrink / 2) - total * shrink / 2
    flips = stream(seed, "flip")
    found = []
    for n, (index, size, wide) in enumerate(zip(roots, sizes, widths, strict=True)):
        size, wide = size * shrink, wide * shrink
        subject = subjects[index]
        behind = any(s.relation in ("front", "under") and s.target == index for s in subjects) or subject.relation == "behind"
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
        found.append((index, Placed(subject, middle, base, size, shape[index], flies or place.ground == "air", turned, dim, sunk)))
        x += wide + gap * shrink
    return sorted(found, key=lambda item: -item[1].dim)


def _two_rows(subjects: list[Subject], roots: list[int], shape: list[float], sizes: list[float], view: View, place: Place) -> list[tuple[int, Placed]]:
    """Many: a row behind, raised, and a row in front, each item in a cell of its own."""
    rows = 2 if len(roots) <= 7 and not view.tall else 3 if len(roots) > 4 else 2
    per_row = -(-len(roots) // rows)
    cell_w = view.width * 0.88 / per_row
    top, bottom = view.height * 0.16, min(view.floor, view.height * 0.86)
    cell_h = (bottom - top) / rows
    found = []
    for n, index in enumerate(roots):
        row, column = divmod(n, per_row)
        in_row = min(per_row, len(roots) - row * per_row)
        height = min(cell_h * 0.94, cell_w * 0.88 / shape[index])
        x = view.width / 2 + (column - (in_row - 1) / 2) * cell_w
        found.append((index, Placed(subjects[index], x, top + cell_h * (row + 1), height, shape[index], row + 1 < rows or place.ground == "air")))
    return found


def _upon(subject: Subject, base: Placed, shape: float) -> Placed:
    """A subject on, astride or inside another that is placed already."""
    relation, kind = subject.relation, kind_of(base.subject)
    height = base.height * min(1.15, max(0.4, _scale(subject) / max(0.2, _scale(base.subject))))
    wide = base.width
    if relation == "riding" or (relation == "on" and kind.startswith(("transport-ground", "animal-mammal"))):
        height = min(max(height, base.height * 0.62), base.height * 0.95)
        lift = 0.52 if kind.startswith("animal") or base.subject.name in ("bicycle", "motor-scooter", "motorcycle", "horse") else 0.66
        lift = 0.36 if base.subject.name in ("skateboard", "sled", "canoe", "sailboat") else lift
        return replace(base, subject=subject, height=height, shape=shape, base=base.base - base.height * lift, afloat=True, sunk=0.0, flip=base.flip)
    if relation == "in":
        height = min(height, base.height * 0.9)
        return replace(base, subject=subject, height=height, shape=shape, base=base.base - base.height * 0.42, afloat=True, sunk=0.0)
    height = min(height, base.height * 0.85)
    if height * shape > wide:
        height = wide / shape
    seat = {"chair": 0.5, "couch-and-lamp": 0.34, "bed": 0.4, "wood": 0.8, "rock": 0.72, "mushroom": 0.9}.get(base.subject.name, 0.84)
    return replace(base, subject=subject, height=height, shape=shape, base=base.base - base.height * seat, afloat=True, sunk=0.0)


def _give(index: int, subject: Subject, subjects: list[Subject], shape: list[float], placed: dict[int, Placed], order: list[tuple[int, Placed]]) -> None:
    """Put what a subject holds into its hands."""
    holder, target = placed[index], subjects[subject.target]
    if subject.target in placed:
        return
    height = holder.height * min(0.62, max(0.26, _scale(target) / max(0.2, _scale(subject)) * 0.72))
    over = target.name in ("umbrella", "umbrella-with-rain-drops", "balloon", "kite")
    base = holder.base - holder.height * (0.5 if over else 0.26)
    if over:
        height = holder.height * 0.62
    side = -1 if not holder.flip else 1
    wide = height * shape[subject.target]
    x = holder.x + side * (holder.width * 0.4 + (wide * 0.22 if not over else -holder.width * 0.2))
    made = Placed(target, x, base, height, shape[subject.target], True, holder.flip, holder.dim)
    placed[subject.target] = made
    at = next(n for n, (i, _) in enumerate(order) if i == index)
    order.insert(at if over else at + 1, (subject.target, made))


def _several(order: list[tuple[int, Placed]], view: View, seed: int) -> list[Placed]:
    """Two foxes are two drawings: a little apart in depth and size, the last one nearest."""
    found: list[Placed] = []
    for index, one in order:
        number = one.subject.number
        if number <= 1:
            found.append(one)
            continue
        dice = stream(seed, f"several {index}")
        fit = min(1.0, (view.width * 0.86) / (one.width * (0.45 + 0.62 * number)))
        height = one.height * max(0.42, fit * (1 - 0.045 * number))
        step = min(height * one.shape * 0.86, view.width * 0.84 / number)
        twins = []
        for n in range(number):
            back = n % 2
            size = height * (dice.uniform(0.9, 1.0) - 0.14 * back)
            x = one.x + (n - (number - 1) / 2) * step
            half = size * one.shape / 2
            x = min(max(x, half + 6), view.width - half - 6)
            twins.append(replace(one, x=x, base=one.base - view.height * 0.035 * back - (view.height * 0.06 * dice.random() if one.afloat else 0), height=size, flip=dice.random() < 0.5, dim=one.dim + 0.08 * back))
        found += sorted(twins, key=lambda p: p.base)
    return found
