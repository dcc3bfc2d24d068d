"""The light of a scene: the colours of the sky by time of day, and the effect of the light on surfaces."""

from dataclasses import dataclass, replace

from framehouse.engines.previz.color import WHITE, Color, darker, luma, mix, saturated
from framehouse.engines.previz.scene import Scene, stream

_AMBIENT_SHARE = 0.92


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a scene. `top`, `middle` and `low` are the colours of the sky from the top down to the horizon.

    `sun` is the colour of the sun, the moon and lamps. `ambient` is the colour of a white surface in this light.
    """

    time: str
    top: Color
    middle: Color
    low: Color
    sun: Color
    ambient: Color
    dark: bool = False
    tints: tuple[Color, ...] = ()
    saturation: float = 1.0
    paleness: float = 0.0

    def on(self, color: Color, far: float = 0.0) -> Color:
        """Return the colour that a surface has in this light.

        `color` is the colour of the surface in daylight. Haze increases with `far`, from 0 (near) to 1 (horizon).
        """
        a = self.ambient
        lit = (round(color[0] * a[0] / 255), round(color[1] * a[1] / 255), round(color[2] * a[2] / 255))
        return self.graded(mix(mix(color, lit, _AMBIENT_SHARE), self.low, far))

    def graded(self, color: Color) -> Color:
        """Return the colour after applying the tints, the saturation and the paleness of this light."""
        for tint in self.tints:
            color = mix(color, mix(tint, WHITE if luma(color) > 0.6 else tint, luma(color) * 0.6), 0.34)
        if self.saturation != 1:
            color = saturated(color, self.saturation)
        return mix(color, WHITE, self.paleness)


_LIGHTS = {
    "day": (
        Light("day", (58, 138, 220), (134, 194, 238), (226, 241, 246), (255, 246, 214), (255, 252, 246)),
        Light("day", (72, 164, 206), (156, 212, 226), (240, 244, 226), (255, 244, 200), (255, 250, 238)),
        Light("day", (94, 128, 214), (164, 186, 240), (244, 232, 236), (255, 240, 214), (255, 248, 244)),
    ),
    "dawn": (
        Light("dawn", (116, 146, 206), (238, 186, 182), (255, 230, 194), (255, 240, 206), (255, 226, 214)),
        Light("dawn", (92, 128, 178), (206, 190, 210), (255, 214, 184), (255, 228, 190), (250, 222, 220)),
    ),
    "sunset": (
        Light("sunset", (66, 56, 128), (220, 98, 112), (255, 190, 112), (255, 224, 150), (255, 190, 160)),
        Light("sunset", (88, 62, 116), (240, 124, 84), (255, 212, 130), (255, 232, 166), (255, 196, 150)),
        Light("sunset", (40, 70, 122), (196, 116, 136), (255, 178, 128), (255, 216, 160), (246, 184, 168)),
    ),
    "night": (
        Light("night", (9, 14, 42), (24, 38, 92), (64, 80, 146), (244, 238, 206), (118, 134, 214), dark=True),
        Light("night", (14, 18, 34), (28, 54, 84), (58, 104, 124), (236, 244, 226), (120, 156, 196), dark=True),
        Light("night", (22, 12, 48), (58, 34, 98), (118, 74, 142), (250, 226, 236), (150, 128, 214), dark=True),
    ),
}  # fmt: skip
_NEON = Light("night", (16, 8, 42), (74, 22, 110), (226, 60, 146), (92, 244, 252), (164, 120, 236), dark=True)


def light_of(scene: Scene, seed: int) -> Light:
    """Return the light of a scene. The seed determines the properties that the scene does not specify."""
    choice = stream(seed, "light")
    time = scene.time
    if not time:
        time = "night" if scene.mood == "dark" else choice.choice(("day", "day", "day", "sunset", "dawn", "day"))
    light = _NEON if scene.style == "neon" else choice.choice(_LIGHTS[time])
    if scene.style == "neon" and time in ("sunset", "day"):
        light = replace(light, dark=True)
    grey = {"rain": 0.55, "storm": 0.7, "fog": 0.6, "snow": 0.4, "cloudy": 0.45}.get(scene.weather, 0.0)
    if grey:
        cloud: Color = (52, 58, 76) if light.dark else (168, 176, 188)
        if scene.weather == "storm":
            cloud = mix(cloud, (40, 46, 62), 0.65)
        light = replace(
            light,
            top=mix(light.top, darker(cloud, 0.15), grey),
            middle=mix(light.middle, cloud, grey),
            low=mix(light.low, mix(cloud, WHITE, 0.25), grey * 0.9),
            ambient=mix(light.ambient, mix(cloud, WHITE, 0.4), grey * 0.6),
        )
    changes = {
        "warm": ((255, 196, 120), 0.14, 1.08),
        "cool": ((110, 150, 210), 0.2, 0.85),
        "dark": ((24, 34, 40), 0.34, 0.7),
        "dreamy": ((214, 150, 236), 0.22, 1.05),
        "epic": ((255, 170, 90), 0.08, 1.2),
        "romantic": ((255, 140, 170), 0.24, 1.05),
    }.get(scene.mood)
    if changes:
        tint, share, saturation = changes
        light = replace(
            light,
            top=mix(light.top, tint, share),
            middle=mix(light.middle, tint, share),
            low=mix(light.low, tint, share * 0.8),
            ambient=mix(light.ambient, tint, share * 0.5),
            saturation=saturation,
        )
    if scene.tone == "pastel":
        light = replace(light, saturation=light.saturation * 0.85, paleness=0.3)
    elif scene.tone == "vivid":
        light = replace(light, saturation=light.saturation * 1.35)
    light = replace(light, tints=scene.tints)
    return replace(
        light,
        top=light.graded(light.top),
        middle=light.graded(light.middle),
        low=light.graded(light.low),
        sun=light.graded(light.sun),
    )
