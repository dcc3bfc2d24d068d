"""Where a panel takes place: one function per place, each of which fills the whole frame behind the subjects.

`Place.ground` is what subjects stand on there: "land", "table" (small things stand on one), "water" (boats and fish are in
it), or "air" (they float).
"""

from collections.abc import Callable
from dataclasses import dataclass

from framehouse.adapters.engines.previz.backdrops import beyond, inside, nature, town
from framehouse.adapters.engines.previz.backdrops.set import Set, draw_spot


@dataclass(frozen=True, slots=True)
class Place:
    draw: Callable[[Set], None]
    ground: str = "land"
    indoors: bool = False


PLACES = {
    "mountain": Place(nature.mountain),
    "forest": Place(nature.forest),
    "jungle": Place(nature.jungle),
    "meadow": Place(nature.meadow),
    "desert": Place(nature.desert),
    "snowfield": Place(nature.snowfield),
    "sea": Place(nature.sea, ground="water"),
    "beach": Place(nature.beach),
    "city": Place(town.city),
    "street": Place(town.street),
    "studio": Place(inside.studio, ground="podium", indoors=True),
    "room": Place(inside.room, indoors=True),
    "cafe": Place(inside.cafe, ground="table", indoors=True),
    "kitchen": Place(inside.kitchen, ground="table", indoors=True),
    "library": Place(inside.library, indoors=True),
    "stage": Place(inside.stage, indoors=True),
    "space": Place(beyond.space, ground="moon"),
    "sky": Place(beyond.sky, ground="air"),
    "underwater": Place(beyond.underwater, ground="air", indoors=True),
}

__all__ = ["PLACES", "Place", "Set", "draw_spot"]
