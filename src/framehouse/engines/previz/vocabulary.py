"""The vocabulary: all known words and their meanings.

The meanings in the tables of `lexicon` have priority over the names and keywords of the drawings (`pictograms.pack`).
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from framehouse.engines.previz import lexicon
from framehouse.engines.previz.drawings import Pictogram
from framehouse.engines.previz.pictograms import pack

Meanings = dict[str, str]
"""The meanings of a word or phrase, keyed by the kind of meaning.

For example, "雪" (snow) has the meanings {"weather": "snow", "season": "winter"}.
"""

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_WORD = re.compile(r"[a-zà-ÿ0-9]+(?:['’-][a-zà-ÿ0-9]+)*|[^\w\s]", re.IGNORECASE)
_IRREGULAR = {
    "mice": "mouse", "geese": "goose", "children": "child", "men": "man", "women": "woman", "people": "people",
    "feet": "foot", "teeth": "tooth", "wolves": "wolf", "leaves": "leaf", "knives": "knife", "shelves": "shelf",
    "oxen": "ox", "loaves": "loaf", "scarves": "scarf", "elves": "elf", "dwarves": "dwarf", "calves": "calf",
    "heroes": "hero", "potatoes": "potato", "tomatoes": "tomato", "volcanoes": "volcano", "mangoes": "mango",
    "octopi": "octopus", "cacti": "cactus", "buses": "bus", "glasses": "glasses", "shoes": "shoe", "axes": "axe",
    "pies": "pie", "ties": "tie", "cookies": "cookie", "movies": "movie", "zombies": "zombie", "hippies": "hippie",
}  # fmt: skip
_NO_PLURALS = ("ss", "us", "is", "news", "lens", "bus", "gas")
_NAMES_ONLY = (
    "hand",
    "person-gesture",
    "person-symbol",
    "family",
    "cat-face",
    "monkey-face",
    "emotion",
    "heart",
    "body",
)
"""Prefixes of the kinds (`Pictogram.kind`) of drawings whose keywords are feelings and gestures. For these drawings,
the vocabulary contains only the names, not the keywords."""


def words_of(text: str) -> list[str]:
    """Return the English words and punctuation marks of a text, in lower case. A hyphenated word is one word."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def singular(word: str) -> str:
    """Return the singular of an English noun."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(_NO_PLURALS):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word[:-1]


def english_key(phrase: str) -> tuple[str, ...]:
    """Return the key of a phrase in `english()`: the words of the phrase, with the last word in the singular."""
    words = words_of(phrase)
    return (*words[:-1], singular(words[-1])) if words else ()


@cache
def english() -> Mapping[tuple[str, ...], Meanings]:
    """Return the meanings of English phrases of up to four words, keyed by `english_key`."""
    known: dict[tuple[str, ...], Meanings] = {}
    for kind, value, phrase in _curated():
        if not _CHINESE.search(phrase):
            known.setdefault(english_key(phrase), {}).setdefault(kind, value)
    for key, name in _best(pack().values(), chinese=False).items():
        if known.setdefault(key, {}).keys() <= {"color"}:  # "tangerine" is a colour before a noun, otherwise a fruit
            known[key]["icon"] = name
    return known


@cache
def chinese() -> Mapping[str, Meanings]:
    """Return the meanings of Chinese words."""
    known: dict[str, Meanings] = {}
    for kind, value, phrase in _curated():
        if _CHINESE.search(phrase):
            known.setdefault(phrase, {}).setdefault(kind, value)
    for word in lexicon.STOP_CHINESE:
        known.setdefault(word, {}).setdefault("stop", word)
    for (word,), name in _best(pack().values(), chinese=True).items():
        if word not in known:
            known[word] = {"icon": name}
    return known


def _curated() -> Iterable[tuple[str, str, str]]:
    return (
        (kind, meaning, phrase)
        for kind, table in lexicon.MEANINGS.items()
        for meaning, phrases in table.items()
        for phrase in phrases
    )


def _best(pictograms: Iterable[Pictogram], *, chinese: bool) -> dict[tuple[str, ...], str]:
    """Return the best drawing for each phrase in the pack.

    A drawing whose name is the phrase is preferred. The next choice is a drawing whose name ends with the phrase. Among
    all other drawings that have the phrase as a keyword, the drawing with the fewest keywords is preferred.
    """
    best: dict[tuple[str, ...], tuple[float, str]] = {}
    for drawn in pictograms:
        phrases = drawn.chinese if chinese else drawn.english
        names_only = drawn.kind.startswith(_NAMES_ONLY)
        for place, phrase in enumerate(phrases):
            key = (phrase,) if chinese else english_key(phrase)
            if not key or len(key) > 4 or _is_stopped(phrase, key, is_name=place == 0, chinese=chinese):
                continue
            if place == 0:
                score = 100.0
            elif names_only or (chinese and (len(phrase) < 2 or not set(phrase) & set(phrases[0]))):
                continue  # a Chinese keyword that shares no character with the name is rarely a synonym
            else:
                name_end = phrases[0].endswith(phrase) if chinese else english_key(phrases[0])[-len(key) :] == key
                score = (60.0 if name_end else 20.0) + 20.0 / len(phrases) - place * 0.2
            if drawn.name.startswith(("man-", "woman-")) or "-face" in drawn.name:
                score -= 15
            if score > best.get(key, (0.0, ""))[0]:
                best[key] = (score, drawn.name)
    return {key: name for key, (_, name) in best.items()}


def _is_stopped(phrase: str, key: tuple[str, ...], *, is_name: bool, chinese: bool) -> bool:
    if chinese:
        return not _CHINESE.search(phrase) or phrase in lexicon.STOP_CHINESE
    if not is_name and (":" in key or (len(key) == 1 and key[0] in lexicon.NOT_NAMES)):
        return True
    return len(key) == 1 and (key[0] in lexicon.STOP or (not is_name and len(key[0]) < 3) or key[0].isdigit())
