"""Generate a fixed set of prompts with previz as one contact sheet: both languages, all aspect ratios and styles.

    make gallery    # all prompts, into out/gallery.jpg

After every change to previz, check each image by eye.
"""

import sys
import time
from pathlib import Path

from PIL import Image

from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import size_of
from framehouse.engines.previz.panel import draw_panel

ROW_PX, WIDTH_PX, GAP_PX = 300, 2200, 8
PROMPTS = (
    # the same fox in each aspect ratio
    ("A fox and a hedgehog in an autumn forest", "21:9"),
    ("A fox and a hedgehog in an autumn forest", "9:16"),
    ("A fox and a hedgehog in an autumn forest", "1:1"),
    ("A fox and a hedgehog in an autumn forest", "2:3"),
    ("A fox and a hedgehog in an autumn forest", "4:3"),
    ("A fox and a hedgehog in an autumn forest", "3:4"),
    ("A fox and a hedgehog in an autumn forest", "3:2"),
    # places, times of day, weather
    ("A red vintage car on a city street at night, rain", "16:9"),
    ("雪山下的小木屋，夜晚，星空", "16:9"),
    ("A camel crossing the desert at sunset", "16:9"),
    ("一艘帆船在海上，日出", "16:9"),
    ("A giraffe and an elephant on the savanna, golden hour", "16:9"),
    ("Three penguins on a glacier under the aurora", "3:2"),
    ("一位宇航员站在月球上，地球在远处", "3:2"),
    ("A hot air balloon above the clouds at dawn", "3:4"),
    ("A sea turtle and tropical fish at a coral reef", "16:9"),
    ("A violin on a theatre stage, spotlight", "4:3"),
    ("一杯咖啡和一个牛角面包，咖啡馆", "16:9"),
    ("A chef holding a pizza in the kitchen", "1:1"),
    ("An old woman reading a book in a library", "4:3"),
    ("三只猫坐在沙发上，客厅，温馨", "16:9"),
    ("A parrot and a monkey in the jungle", "1:1"),
    ("A lighthouse on a beach during a thunderstorm", "2:3"),
    ("Two red foxes in a snowy forest, no people", "16:9"),
    ("A knight with a sword riding a white horse, misty mountains at dawn", "16:9"),
    ("樱花树下，一个女孩和一只小狗，春天", "3:2"),
    ("A tiny mouse under a giant mushroom, meadow, rainbow", "16:9"),
    ("A golden retriever on a beach, no clouds", "1:1"),
    ("Perfume bottle on a marble podium, pastel pink", "1:1"),
    ("A pair of blue sneakers, product shot", "4:3"),
    ("A robot with a red umbrella in the fog", "3:4"),
    ("一个男孩骑着自行车穿过城市", "16:9"),
    ("A zorblax next to a quantum flux capacitor in a laboratory", "16:9"),
    # styles
    ("A cat riding a bicycle at sunset by the sea, watercolor", "16:9"),
    ("A wolf howling on a mountain, ink sketch", "3:2"),
    ("一只鹤，山水，水墨画", "3:4"),
    ("A rocket, blueprint", "4:3"),
    ("A sports car in a city, neon, synthwave", "16:9"),
    ("一只小鹿在森林里，剪纸", "1:1"),
    ("A lion, golden hour, 35mm photo", "3:2"),
    ("Sunflowers and a farmhouse, oil painting", "16:9"),
    ("A superhero above the city, comic book", "2:3"),
    ("A dragon and a castle, pixel art", "16:9"),
    ("A steam train in the mountains, vintage travel poster", "2:3"),
    ("A detective in the rain, black and white", "16:9"),
    ("An old man with a top hat, sepia", "4:3"),
)
SERIES = (
    ("Create a three-frame product storyboard", 3),
    ("一个女孩和她的机器人在城市里，黄昏", 6),
)


def draw_panels() -> list[Image.Image]:
    panels = [draw(Shot(0, prompt, "", 100 + n), 1, ratio) for n, (prompt, ratio) in enumerate(PROMPTS)]
    for prompt, count in SERIES:
        panels += [draw(Shot(n, prompt, FRAMINGS[n], 7 + n), count, "16:9") for n in range(count)]
    return panels


def draw(shot: Shot, count: int, ratio: str) -> Image.Image:
    panel = Image.fromarray(draw_panel(shot, count, size_of(ratio, "1k")))
    return panel.resize((round(ROW_PX * panel.width / panel.height), ROW_PX), Image.Resampling.LANCZOS)


def contact_sheet(panels: list[Image.Image]) -> Image.Image:
    """Arrange the panels in rows, in this order. Each row is scaled to the full width."""
    rows: list[list[Image.Image]] = [[]]
    for panel in panels:
        if rows[-1] and sum(p.width + GAP_PX for p in rows[-1]) + panel.width * 0.6 > WIDTH_PX:
            rows.append([])
        rows[-1].append(panel)
    scaled = []
    for row in rows:
        panels_px = WIDTH_PX - GAP_PX * (len(row) + 1)
        height = min(round(ROW_PX * panels_px / sum(p.width for p in row)), round(ROW_PX * 1.35))
        scaled.append([p.resize((round(p.width * height / ROW_PX), height), Image.Resampling.LANCZOS) for p in row])
    sheet = Image.new("RGB", (WIDTH_PX, GAP_PX + sum(row[0].height + GAP_PX for row in scaled)), (20, 20, 24))
    y = GAP_PX
    for row in scaled:
        x = GAP_PX
        for panel in row:
            sheet.paste(panel, (x, y))
            x += panel.width + GAP_PX
        y += row[0].height + GAP_PX
    return sheet


def main(path: Path) -> None:
    start = time.perf_counter()
    panels = draw_panels()
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(panels).save(path, quality=88)
    print(f"{path}: {len(panels)} panels in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/gallery.jpg"))
