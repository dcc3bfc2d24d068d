"""The curated part of the vocabulary, from lexicon.toml. Comments in lexicon.toml explain the tables."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from framehouse.engines.previz.color import Color

_TABLES: dict[str, Any] = tomllib.loads((files(__package__) / "lexicon.toml").read_text(encoding="utf-8"))


def _words(name: str) -> Mapping[str, tuple[str, ...]]:
    return {
        meaning: tuple(" ".join(word.split()) for word in words.split("|")) for meaning, words in _TABLES[name].items()
    }


def _colors() -> Mapping[str, Color]:
    return {name: (red, green, blue) for name, (red, green, blue) in _TABLES["rgb"].items()}


MEANINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "icon": _words("pictograms"),
    "backdrop": _words("backdrops"),
    "time": _words("times"),
    "weather": _words("weathers"),
    "season": _words("seasons"),
    "mood": _words("moods"),
    "style": _words("styles"),
    "color": _words("colors"),
    "size": _words("sizes"),
    "number": _words("numbers"),
    "relation": _words("relations"),
    "framing": _words("framings"),
    "tone": _words("tones"),
    "negation": _words("negations"),
    "people": _words("people"),
}
"""The words of the vocabulary, by kind of meaning and by meaning. A word can have meanings of several kinds. For
example, "雪" (snow) means both the weather "snow" and the season "winter"."""
RGB = _colors()
STOP = frozenset(_TABLES["stop"]["english"].split())
STOP_CHINESE = frozenset(_TABLES["stop"]["chinese"].split())
NOT_NAMES = frozenset(_TABLES["stop"]["not_names"].split())
MEASURES: str = _TABLES["stop"]["measures"]
SCALES: Mapping[str, Mapping[str, float]] = _TABLES["scales"]
HOMES: Mapping[str, Mapping[str, str]] = _TABLES["homes"]


def by_kind(table: Mapping[str, Mapping[str, Any]], name: str, kind: str) -> Any:
    """Look up the drawing `name` of the kind `kind` in `table`, which contains the tables "names" and "kinds".

    Returns the entry, or None if there is no entry. An entry for the drawing's name has priority over an entry for its
    kind. An entry for a kind also applies to all kinds whose names begin with the name of this kind. If the entries for
    several kinds apply, the entry for the kind with the longest name is returned.
    """
    if name in table["names"]:
        return table["names"][name]
    starts = [start for start in table["kinds"] if kind.startswith(start)]
    return table["kinds"][max(starts, key=len)] if starts else None
