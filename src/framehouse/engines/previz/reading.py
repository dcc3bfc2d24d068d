"""Derive a scene from a prompt in English or Chinese: its subjects, their relations, and the scenery."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from framehouse.domain.prompt import Cited
from framehouse.engines.previz import lexicon
from framehouse.engines.previz.color import Color
from framehouse.engines.previz.pictograms import is_dressed, pack
from framehouse.engines.previz.scene import Scene, Subject
from framehouse.engines.previz.vocabulary import Meanings, chinese, english, singular, words_of

MAX_SUBJECTS = 6
_MAX_CHIPS = 4
_RUNS = re.compile(r"[\u3400-\u9fff]+|[^\u3400-\u9fff]+")
_STRONG = {"in", "at", "inside", "through", "across", "into", "on", "over", "在"}
_CLOTHES = set("dress coat t-shirt kimono sari lab-coat womans-clothes running-shirt safety-vest jeans".split(" "))
_HEADWEAR = set(
    "top-hat billed-cap womans-hat crown glasses sunglasses headphone graduation-cap rescue-workers-helmet "
    "military-helmet goggles".split(" ")
)
_SHOWN_WITH = {
    "knight": ("dagger", "crossed-swords", "shield"),
    "singer": ("microphone", "studio-microphone"),
    "artist": ("artist-palette", "paintbrush"),
    "detective": ("magnifying-glass-tilted-left",),
    "farmer": ("pick",),
    "woman-merpeople": ("water-wave",),
}
_VESSELS = ("lotion-bottle", "hot-beverage", "steaming-bowl", "glass-of-milk", "package", "basket", "amphora")
_WEAK = set("dark star stars moon morning afternoon wet shower cloud clouds 月亮 上午 早上".split(" "))
_NAMING = set("named called 叫 叫做 名叫 名字".split(" "))
_MATERIALS = {"wood", "glass", "marble", "copper", "gold"}
_BREAKS = set('.,;:!?()[]"，。；：！？、（）\n')
_POSTFIXES = {
    **dict.fromkeys(("上", "上面"), "on"),
    **dict.fromkeys(("下", "下面", "底下"), "under"),
    **dict.fromkeys(("里", "里面", "中"), "in"),
    **dict.fromkeys(("旁", "旁边"), "beside"),
    **dict.fromkeys(("前", "面前"), "front"),
    "后面": "behind",
}
_ALSO_VERBS = set(
    "watch watches ring rings bow bows plant plants fly flies box duck ducks bear present presents drum brush fish key "
    "bat ship ships cook cooks saw fan mirror mirrors crane fork hook nail pick picks rose toast".split(" ")
)
_DETERMINERS = {*"a an the his her their its my our your this that of and with some any no".split(" "), *",:;", ""}
_VERB_ENDS = ("ing", "ed", "ly")
_ADJECTIVE_ENDS = ("ous", "ful", "ive", "able", "ible", "less", "ish", "like", "esque", "ian", "ic", "al", "ant", "ent")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A part of the prompt: a phrase with its meanings, or a citation. For an unknown word, `known` is false."""

    text: str
    means: Meanings = field(default_factory=dict)
    cited: Cited | None = None
    known: bool = True


def read_scene(parts: Sequence[str | Cited], *, caption: str) -> Scene:
    """Return the scene of a prompt that was split into text and citations (`domain.prompt.prompt_parts`)."""
    reader = _Reader()
    for unit in _units(parts):
        reader.take(unit)
    return reader.scene(caption)


# --- text to units -----------------------------------------------------------------------------------------------


def without_items(negative_prompt: str) -> tuple[str, ...]:
    """Convert the items of a negative prompt to a part of a prompt, such as ". Without dogs. Without rain."."""
    items = (item.strip() for item in re.split(r"[,，;；、。.\n]", negative_prompt))
    text = " ".join(
        f"没有{item}。" if re.search("[\u4e00-\u9fff]", item) else f"Without {item}." for item in items if item
    )
    return (f". {text}",) if text else ()


def _units(parts: Sequence[str | Cited]) -> Iterator[_Unit]:
    for part in parts:
        if isinstance(part, Cited):
            yield _Unit("", cited=part)
            continue
        for run in _RUNS.findall(part):
            yield from _chinese_units(run) if "\u3400" <= run[0] <= "\u9fff" else _english_units(words_of(run))


def _english_units(words: list[str]) -> Iterator[_Unit]:
    known = english()
    at = 0
    while at < len(words):
        for length in range(min(4, len(words) - at), 0, -1):
            phrase = words[at : at + length]
            means = known.get((*phrase[:-1], phrase[-1])) or known.get((*phrase[:-1], singular(phrase[-1])))
            if means:
                text = " ".join(phrase)
                plural = singular(phrase[-1]) != phrase[-1] and "icon" in means
                yield _Unit(text, means | {"plural": "yes"} if plural else means)
                at += length
                break
        else:
            word = words[at]
            at += 1
            parts = [part for part in word.split("-") if part]
            if len(parts) > 1 and not all(map(str.isdigit, parts)):
                yield from _english_units(parts)
            else:
                yield _Unit(word, known=word in lexicon.STOP or singular(word) in lexicon.STOP or not word[0].isalpha())


def _chinese_units(run: str) -> Iterator[_Unit]:
    """Yield the units of Chinese text. At each position, the longest known word of at most six characters is used.

    Consecutive characters that belong to no known word form one unit. For such a unit, `known` is false if the unit has
    several characters or follows a number.
    """
    known = chinese()
    at, unknown, counted = 0, "", False
    while at < len(run):
        length = next((n for n in range(min(6, len(run) - at), 0, -1) if run[at : at + n] in known), 0)
        if not length:
            unknown += run[at]
            at += 1
            continue
        if unknown:
            yield _Unit(unknown, known=len(unknown) < 2 and not counted)
            unknown = ""
        word = run[at : at + length]
        at += length
        yield _Unit(word, known[word])
        counted = "number" in known[word]
        if counted and at < len(run) and run[at] in lexicon.MEASURES:
            at += 1
    if unknown:
        yield _Unit(unknown, known=len(unknown) < 2 and not counted)


# --- units to a scene --------------------------------------------------------------------------------------------


class _Reader:
    """A reader that processes the units in order and builds the scene.

    Numbers, sizes, colours, relations and negations precede their noun, so the reader stores them until it reaches the
    noun.
    """

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._backdrop_weight = 0
        self._subjects: list[Subject] = []
        self._tints: list[Color] = []
        self._chips: list[str] = []
        self._setting: Cited | None = None
        self._people = True
        self._unwanted: set[str] = set()
        self._before = ""
        self._last: _Unit = _Unit("")
        self._waiting_words: list[str] = []
        self._place_of = False
        self._color_thing = ""
        self._end_clause()

    def _end_clause(self) -> None:
        """Discard the number, size, colour, relation and negation that are stored for the next noun."""
        self._number, self._size, self._color = 0, 1.0, ""
        self._relation, self._negated, self._somewhere = "", False, False

    def take(self, unit: _Unit) -> None:
        means = unit.means
        if unit.known:
            self._end_unknown(unit)
        if self._last.cited and unit.text in ("中", "里", "里面", "中的", "的", "图", "'s"):
            self._place_of = True
            return
        if not (self._place_of and unit.text in ("的", "中", "里")):
            self._place_of = self._place_of and "icon" in means
        if unit.cited:
            self._cite(unit.cited)
        elif unit.text in _BREAKS:
            self._tint()
            self._end_clause()
        elif unit.text in ("but", "except"):
            self._negated = False
        elif self._negated and means.keys() & {"icon", "people", "backdrop", "weather"}:
            self._reject(unit)
        elif "negation" in means:
            self._negated = True
        elif self._is_postfix(unit):
            self._relate(self._subjects[-2], _POSTFIXES[unit.text], len(self._subjects) - 1)
        elif not unit.known:
            if self._before not in _NAMING:
                self._waiting_words.append(unit.text)
        else:
            self._scenery(unit)
            if "icon" in means and not means.keys() & {"backdrop", "color"} and not self._is_verb(unit):
                self._name(unit)
            else:
                self._modifier(unit)
        self._last = unit
        if unit.text:
            self._before = unit.text
        self._somewhere = self._somewhere or unit.text in _STRONG

    # scenery

    def _scenery(self, unit: _Unit) -> None:
        for kind in ("season", "mood", "style", "framing", "tone"):
            if kind in unit.means:
                self._found.setdefault(kind, unit.means[kind])
        # A shot's own text follows the text that all shots share. A later time of day or weather condition therefore
        # replaces an earlier one, unless the later word is in _WEAK.
        for kind in ("time", "weather"):
            if kind in unit.means and (kind not in self._found or unit.text not in _WEAK):
                self._found[kind] = unit.means[kind]
        if unit.means.keys() & {"time", "weather", "season"} and "icon" not in unit.means:
            self._relation = ""  # "on" in "on a rainy evening" is not a relation between subjects
        if "backdrop" in unit.means:
            weight = 2 if self._somewhere or self._relation in ("on", "in", "under") else 1
            if weight > self._backdrop_weight or (weight == self._backdrop_weight and weight == 2):
                self._found["backdrop"], self._backdrop_weight = unit.means["backdrop"], weight
            self._tint()
            self._relation, self._somewhere = "", False
            self._number, self._size = 0, 1.0

    def _is_verb(self, unit: _Unit) -> bool:
        """Return whether the word is a verb. This depends on the previous word: "watch" in "a watch" is a noun."""
        return unit.text in _ALSO_VERBS and not (
            self._before in _DETERMINERS or self._last.means.keys() & {"number", "color", "size", "icon"} - {"icon"}
        )

    def _name(self, unit: _Unit) -> None:
        """Add the subjects that a noun names. A noun such as "family" names several subjects.

        If the meaning of the noun ends in "+", the noun also becomes a chip (a text label on the panel).
        """
        if self._place_of and self._subjects:
            self._place_of = False  # in "<<<image_1>>>中的狗" ("the dog in <<<image_1>>>"), the image shows the dog
            return
        for name in unit.means["icon"].rstrip("+").split(","):
            self._add(Subject(name), plural="plural" in unit.means)
        if unit.means["icon"].endswith("+") and len(self._chips) < _MAX_CHIPS:
            self._chips.append(unit.text)

    def _tint(self) -> None:
        color, self._color = self._color, ""
        if color and self._color_thing:
            self._add(Subject(self._color_thing))
        elif color:
            self._tints.append(lexicon.RGB[color])
        self._color_thing = ""

    # subjects

    def _modifier(self, unit: _Unit) -> None:
        means = unit.means
        if "number" in means:
            self._number = int(means["number"])
        if "size" in means:
            self._size = float(means["size"])
        if "color" in means:
            self._tint()
            self._color = means["color"]
            self._color_thing = means.get("icon", "") if self._before in _DETERMINERS or self._number else ""
        if "relation" in means:
            self._relation = means["relation"]

    def _add(self, subject: Subject, *, plural: bool = False) -> None:
        subject.number = self._number or (3 if plural else 1)
        subject.size = self._size
        if self._color:
            subject.color = lexicon.RGB[self._color]
            subject.material = self._color if self._color in _MATERIALS else ""
        same = next((s for s in self._subjects if s.name and s.name == subject.name), None)
        if same:
            same.color = same.color or subject.color
            index = self._subjects.index(same)
        elif len(self._subjects) < MAX_SUBJECTS or subject.cited:
            self._subjects.append(subject)
            index = len(self._subjects) - 1
        else:
            return
        if self._is_part(subject, index) or self._wears(subject, index):
            pass
        elif self._relation and index > 0 and not same:
            self._relate(self._actor(index), self._relation, index)
        self._number, self._size, self._color, self._color_thing = 0, 1.0, "", ""
        self._relation, self._somewhere = "", False

    def _is_part(self, thing: Subject, index: int) -> bool:
        """Update the list of subjects if `thing` belongs to the previous subject, as a part of it or as its contents.
        Returns whether `thing` belongs to the previous subject.

        If the drawing of the previous subject already shows `thing`, for example the sword of a knight, `thing` is
        removed. If the previous subject is a container, as in "a bottle of perfume", `thing` replaces the previous
        subject.
        """
        before = self._subjects[index - 1].name if index else ""
        if thing.name and thing.name in _SHOWN_WITH.get(before, ()):
            self._subjects.remove(thing)
            return True
        if self._last.text == "of" and before in _VESSELS and not thing.cited:
            self._subjects[index - 1 : index + 1] = [thing]
            return True
        return False

    def _wears(self, thing: Subject, index: int) -> bool:
        """If `thing` is clothing or headwear and an earlier subject wears it, dress that subject in `thing`.
        Returns whether an earlier subject wears `thing`.

        The colour of a garment, such as a coat, becomes the colour of the figure. A hat is drawn on the figure's head.
        """
        wearer = self._actor(index, creature=True) if self._relation in ("in", "holding", "beside") else None
        if wearer is None or wearer is thing:
            return False
        if thing.name in _CLOTHES and wearer.name and is_dressed(wearer.name):
            wearer.color = thing.color or wearer.color
            self._subjects.remove(thing)
            return True
        if thing.name in _HEADWEAR:
            thing.relation, thing.target = "worn", self._subjects.index(wearer)
            return True
        return False

    def _actor(self, before: int, *, creature: bool = False) -> Subject:
        """Return the subject of the current relation, such as the subject that rides, holds or wears something.

        Only subjects before index `before` are considered. If the relation is "riding" or "holding", or if `creature`
        is true, the nearest preceding person, animal or citation is returned. If there is no such subject, and for all
        other relations, the directly preceding subject is returned.
        """
        if creature or self._relation in ("riding", "holding"):
            for subject in reversed(self._subjects[:before]):
                if subject.cited or pack()[subject.name].kind.startswith(("person", "animal", "face-costume")):
                    return subject
        return self._subjects[max(0, before - 1)]

    def _relate(self, subject: Subject, relation: str, target: int) -> None:
        if relation == "holding":
            thing = self._subjects[target]
            thing.relation, thing.target = "held", self._subjects.index(subject)
        elif not subject.relation:
            subject.relation, subject.target = relation, target

    def _cite(self, cited: Cited) -> None:
        if any(subject.cited == cited for subject in self._subjects) or self._setting == cited:
            return
        if self._before in ("background", "backdrop", "setting", "背景", "场景"):
            self._setting = cited
            return
        noun = self._subjects[-1] if self._subjects and not self._subjects[-1].cited else None
        is_its_image = self._last.means.get("icon") == (noun.name if noun else "") or self._last.text in (
            "of",
            "from",
            "in",
        )
        if noun and is_its_image and noun.number <= 1:
            noun.cited, noun.name = cited, ""  # in "the dog in <<<image_1>>>", the image shows the dog
            self._relation = ""
            return
        self._add(Subject(cited=cited))

    def _is_postfix(self, unit: _Unit) -> bool:
        return unit.text in _POSTFIXES and "icon" in self._last.means and len(self._subjects) > 1

    # exclusions and unknown words

    def _reject(self, unit: _Unit) -> None:
        if "people" in unit.means:
            self._people = False
        if "icon" in unit.means:
            self._unwanted.add(unit.means["icon"])
        if "weather" in unit.means:
            self._unwanted.add(unit.means["weather"])

    def _end_unknown(self, unit: _Unit) -> None:
        """Process the unknown words that precede `unit`.

        If a known noun follows, the unknown words describe this noun and are discarded. Otherwise, the last unknown
        words become a chip, unless they are negated or look like a verb or an adjective.
        """
        words, self._waiting_words = self._waiting_words, []
        if not words or (unit.means.keys() & {"icon", "backdrop", "style", "people"}):
            return
        head = words[-1]
        if head.isascii() and (head.endswith(_VERB_ENDS) or head.endswith(_ADJECTIVE_ENDS) or len(head) < 3):
            return
        chip = " ".join(words[-3:]) if head.isascii() else head
        if self._negated or chip in self._chips or len(self._chips) >= _MAX_CHIPS:
            return
        self._chips.append(chip[:28])
        self._number, self._size, self._color, self._relation = 0, 1.0, "", ""

    def scene(self, caption: str) -> Scene:
        self._end_unknown(_Unit("."))
        self._tint()
        values = {kind: value for kind, value in self._found.items() if value not in self._unwanted}
        subjects = [s for s in self._subjects if s.cited or self._is_included(s)]
        for subject in subjects:
            target = self._subjects[subject.target] if subject.target >= 0 else None
            subject.target = next((i for i, other in enumerate(subjects) if other is target), -1)
            if subject.target < 0:
                subject.relation = ""
        return Scene(
            **values,
            subjects=tuple(subjects),
            tints=tuple(self._tints[:3]),
            chips=tuple(self._chips),
            setting=self._setting,
            people=self._people,
            unwanted=frozenset(self._unwanted),
            caption=caption,
        )

    def _is_included(self, subject: Subject) -> bool:
        if subject.name in self._unwanted:
            return False
        return self._people or not pack()[subject.name].kind.startswith(("person", "family"))
