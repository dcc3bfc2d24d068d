"""Read the preset elements from the package. Every deployment has them; they are not stored in the database."""

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
    """Return all presets by id, in the order of the index.

    The keys of their images are for `preset_image` and for URLs; the storage does not have them.
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
    """Return the file of a preset's image by its key."""
    return (PRESETS / key.removeprefix(_PREFIX)).read_bytes()
