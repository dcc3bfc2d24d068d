"""The camera: its position and distance, for each framing and aspect ratio."""

from dataclasses import dataclass

from framehouse.domain.sizes import Size
from framehouse.engines.previz.scene import stream

SHORT_SIDE = 720.0
"""The length of the shorter side of every frame, in the length units of `View`. The longer side depends on the aspect
ratio."""


@dataclass(frozen=True, slots=True)
class View:
    """The camera of a shot. All lengths are in units of 1/720 of the shorter side of the frame.

    `horizon`, `floor`: y coordinates. The main subject stands on `floor`.
    `hero`: the maximum height of the main subject.
    `center`: the x coordinate of the main subject.
    `zoom`: the scale of the scenery.
    `pan`: the horizontal shift of the camera. Each layer of the scenery is shifted by a fraction of `pan` that depends
        on the depth of the layer.
    `focus`: the blur of the background. 0 means sharp.
    """

    width: float
    height: float
    framing: str
    horizon: float
    floor: float
    hero: float
    zoom: float
    center: float
    pan: float
    focus: float

    @property
    def tall(self) -> bool:
        return self.height > self.width * 1.15


# The values for each framing are horizon, floor and hero (fractions of the height), zoom, center (a fraction of the
# width) and focus.
_CAMERAS = {
    "": (0.60, 0.82, 0.50, 1.0, 0.5, 0.0),
    "wide shot": (0.60, 0.80, 0.36, 0.82, 0.46, 0.0),
    "medium shot": (0.58, 0.88, 0.58, 1.2, 0.54, 2.0),
    "close-up": (0.56, 1.04, 0.82, 1.9, 0.55, 7.0),
    "over-the-shoulder shot": (0.54, 0.82, 0.46, 1.35, 0.62, 3.0),
    "low angle": (0.80, 0.93, 0.70, 1.25, 0.48, 0.0),
    "top view": (-0.12, 0.74, 0.46, 1.05, 0.5, 0.0),
}


def view_of(size: Size, framing: str, seed: int) -> View:
    """Return the camera for a shot. The seed moves the camera slightly, so that the shots in a series differ."""
    short = min(size.width, size.height)
    width, height = size.width / short * SHORT_SIDE, size.height / short * SHORT_SIDE
    horizon, floor, hero, zoom, center, focus = _CAMERAS.get(framing, _CAMERAS[""])
    move = stream(seed, "camera")
    if height > width * 1.15 and framing != "top view":  # in a tall frame, the ground covers more of the height
        floor = 0.5 + (floor - 0.5) * 0.84
        horizon = 0.5 + (horizon - 0.5) * 0.8
    offset = move.uniform(-0.05, 0.05) if framing else move.choice((-1, 1)) * move.uniform(0.02, 0.1)
    if width < height:
        offset *= 0.4
        center = 0.5 + (center - 0.5) * 0.4
    return View(
        width=width,
        height=height,
        framing=framing,
        horizon=height * (horizon + move.uniform(-0.015, 0.015)),
        floor=height * floor,
        hero=min(height * hero, width * 1.05 * hero / 0.5),
        zoom=zoom,
        center=width * (center + offset),
        pan=move.uniform(-0.06, 0.06) * width,
        focus=focus,
    )
