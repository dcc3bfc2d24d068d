"""The elements that ship with Framehouse, read from the package: every house has them, and none in its database."""

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
    """All presets by id, in order. Their pictures' keys are for `preset_picture` and for URLs, not for the storage."""
    listed = json.loads((PRESETS / "index.json").read_text())
    return {
        one["id"]: Element(
            id=one["id"],
            name=one["name"],
            description=one["description"],
            images=tuple(Reference("", _PREFIX + file, *one["size"]) for file in one["files"]),
            tags=tuple(one["tags"]),
        )
        for one in listed
    }


def preset_picture(key: str) -> bytes:
    """The file behind a preset's key."""
    return (PRESETS / key.removeprefix(_PREFIX)).read_bytes()
