"""The places that panels can show. A function for each place draws the entire frame behind the subjects."""

from collections.abc import Callable
from dataclasses import dataclass

from framehouse.engines.previz.backdrops import beyond, hills, rooms, shores, studio, town, woods
from framehouse.engines.previz.backdrops.scenery import Stage, draw_spot


@dataclass(frozen=True, slots=True)
class Place:
    """A place that a panel can show.

    `draw`: the function that draws the place.
    `ground`: the ground below the subjects. One of "land", "podium", "table" (for small subjects), "water" (boats and
        fish are in the water), "moon", or "air" (all subjects float).
    `indoors`: true if rain and snow are not drawn, because the place is indoors, underwater or in space.
    """

    draw: Callable[[Stage], None]
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

__all__ = ["PLACES", "Place", "Stage", "draw_spot"]
