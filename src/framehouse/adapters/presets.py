"""Read the presets: the elements that are included in Framehouse.

Presets are the same in every deployment and are not stored in the database.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from framehouse.domain.element import Element
from framehouse.domain.reference import Reference

PRESETS = files("framehouse") / "assets" / "presets"
_PREFIX = "presets/"


@cache
def presets() -> Mapping[int, Element]:
    """Return all presets by id, in the order of the file index.json.

    The keys of preset images are used only in URLs and as arguments of `preset_image`. The storage contains no files
    with these keys.
    """
    index = json.loads((PRESETS / "index.json").read_text())
    return {
        entry["id"]: Element(
            id=entry["id"],
            name=entry["name"],
            description=entry["description"],
            images=tuple(Reference("", _PREFIX + file, *entry["size"]) for file in entry["files"]),
            tags=tuple(entry["tags"]),
        )
        for entry in index
    }


def preset_image(key: str) -> bytes:
    """Return the content of a preset's image file. `key` is the key of the image."""
    return (PRESETS / key.removeprefix(_PREFIX)).read_bytes()
