"""Where a panel takes place: one function per place, each of which fills the whole frame behind the subjects.

`Place.ground` is what subjects stand on there: "land", "podium", "table" (small things stand on one), "water" (boats and
fish are in it), "moon", or "air" (they float). `Place.indoors`: no weather gets there.
"""

from collections.abc import Callable
from dataclasses import dataclass

from framehouse.engines.previz.backdrops import beyond, hills, rooms, shores, studio, town, woods
from framehouse.engines.previz.backdrops.set import Set, draw_spot


@dataclass(frozen=True, slots=True)
class Place:
    draw: Callable[[Set], None]
    ground: str = "land"
    indoors: bool = False


PLACES = {
    "mountain": Place(hills.mountain),
    "forest": Place(woods.forest),
    "jungle": Place(woods.jungle),
    "meadow": Place(hills.meadow),
    "desert": Place(hills.desert),
    "snowfield": Place(hills.snowfield),
    "sea": Place(shores.sea, ground="water"),
    "beach": Place(shores.beach),
    "city": Place(town.city),
    "street": Place(town.street),
    "studio": Place(studio.studio, ground="podium", indoors=True),
    "room": Place(rooms.room, indoors=True),
    "cafe": Place(rooms.cafe, ground="table", indoors=True),
    "kitchen": Place(rooms.kitchen, ground="table", indoors=True),
    "library": Place(rooms.library, indoors=True),
    "stage": Place(studio.stage, indoors=True),
    "space": Place(beyond.space, ground="moon", indoors=True),
    "sky": Place(beyond.sky, ground="air"),
    "underwater": Place(beyond.underwater, ground="air", indoors=True),
}

__all__ = ["PLACES", "Place", "Set", "draw_spot"]
