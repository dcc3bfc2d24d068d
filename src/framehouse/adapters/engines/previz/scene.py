"""What a prompt's words say about the scene: place, time of day, subject."""

import random
import re
import zlib
from dataclasses import dataclass

from framehouse.domain.prompt import without_citations

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Palette:
    """Sky from top to horizon, the ground, and what catches the light."""

    top: Color
    middle: Color
    horizon: Color
    ground: Color
    accent: Color
    dark: bool = False


_PALETTES = {
    "night": (
        Palette((10, 16, 44), (28, 38, 84), (74, 82, 140), (16, 20, 40), (250, 236, 180), True),
        r"night|moon|midnight|stars?\b|dark|夜|月|星空",
    ),
    "sunset": (
        Palette((64, 54, 122), (226, 112, 98), (255, 200, 120), (72, 44, 66), (255, 232, 170)),
        r"sunset|dusk|golden hour|evening|日落|黄昏|傍晚|夕阳",
    ),
    "dawn": (
        Palette((120, 150, 206), (240, 186, 178), (255, 228, 190), (96, 98, 108), (255, 246, 214)),
        r"dawn|sunrise|morning|日出|清晨|早晨|黎明",
    ),
    "winter": (
        Palette((150, 178, 208), (196, 214, 230), (236, 242, 246), (214, 226, 236), (255, 255, 255)),
        r"snow|winter|ice|frozen|雪|冬|冰",
    ),
    "green": (
        Palette((126, 188, 208), (178, 220, 204), (228, 242, 208), (70, 122, 78), (255, 248, 200)),
        r"forest|jungle|meadow|grass|garden|spring|森林|草|花园|春",
    ),
    "neon": (
        Palette((24, 10, 48), (92, 24, 116), (236, 62, 140), (22, 12, 44), (84, 244, 250), True),
        r"neon|cyberpunk|futuristic|霓虹|赛博",
    ),
    "studio": (
        Palette((228, 216, 200), (240, 230, 214), (250, 243, 232), (206, 186, 164), (255, 255, 255)),
        r"studio|product|minimal|advert|bottle|perfume|cosmetic|产品|商品|广告",
    ),
    "day": (
        Palette((70, 140, 214), (142, 194, 236), (220, 238, 246), (98, 146, 92), (255, 250, 220)),
        r"\bday|sunny|noon|blue sky|晴|白天|蓝天",
    ),
}
_BACKDROPS = {
    "city": r"city|street|town|building|skyscraper|urban|城市|街|楼",
    "sea": r"sea|ocean|beach|lake|river|water|boat|ship|海|湖|河|船",
    "mountain": r"mountain|hill|valley|cliff|desert|山|谷|沙漠",
    "forest": r"forest|tree|jungle|wood|森林|树",
    "studio": r"studio|product|minimal|advert|bottle|perfume|cosmetic|portrait|产品|商品|广告|人像",
}
_STOP_WORDS = re.compile(
    r"an?|the|of|in|on|at|to|by|with|and|or|for|from|into|over|under|near|is|are|as|its|his|her|their|this|that|it"
    r"|create|make|draw|paint|generate|show|pictures?|images?|photos?|frames?|panels?|shots?|series|storyboard|set|scene"
    r"|one|two|three|four|five|six|seven|eight|nine|ten|some|very|high|quality|style|wide|medium|close",
    re.IGNORECASE,
)


_FORM = re.compile(r"漫画|分镜|故事板|系列|组图")


@dataclass(frozen=True, slots=True)
class Scene:
    """A backdrop, a palette and the few words that the panel shows large."""

    backdrop: str
    palette: Palette
    subject: str
    caption: str


def read_scene(prompt: str, seed: int) -> Scene:
    """What to draw. Where the words say nothing, the seed decides, each choice with a stream of its own."""
    text = " ".join(without_citations(prompt).split())
    low = text.lower()
    palette = next((p for p, words in _PALETTES.values() if re.search(words, low)), None)
    if palette is None:
        palette = stream(seed, "palette").choice([p for p, _ in _PALETTES.values()])
    backdrop = next((name for name, words in _BACKDROPS.items() if re.search(words, low)), None)
    if backdrop is None:
        backdrop = stream(seed, "backdrop").choice(list(_BACKDROPS))
    return Scene(backdrop, palette, _subject(text), text)


def stream(seed: int, decision: str) -> random.Random:
    """Random numbers for one decision alone, so that another one more does not change it."""
    return random.Random(seed * 0x9E3779B1 + zlib.crc32(decision.encode()))


def _subject(text: str) -> str:
    if re.search(r"[\u3400-\u9fff]", text):
        parts = [part.strip() for part in re.split(r"[，。,.!！？?；;：:\n]", text)]
        return next((part for part in parts if part and not _FORM.search(part)), parts[0])[:10]
    words = [w for w in re.findall(r"[^\W\d_][\w'’-]*", text) if not all(map(_STOP_WORDS.fullmatch, w.split("-")))]
    return " ".join(words[:3])
