"""Build src/framehouse/assets/pictograms/pack.json.gz. The file is committed, so that previz needs no download.

    npm pack @iconify-json/fluent-emoji-flat@1.2.6 cldr-annotations-full@48.2.0 emojibase-data@17.0.0
    .venv/bin/python scripts/build_pictograms.py *.tgz

The drawings come from Fluent Emoji Flat (Microsoft, MIT), the names and keywords in English and Chinese from Unicode
CLDR (Unicode-3.0), and the groups from emojibase-data (MIT). The same packages always give the same bytes.
"""

import gzip
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

OUT = Path(__file__).parents[1] / "src" / "framehouse" / "assets" / "pictograms" / "pack.json.gz"
GROUPS = {1: "people", 3: "nature", 4: "food", 5: "places", 6: "activities", 7: "objects"}
SMILEYS = {"face-costume", "heart", "emotion", "cat-face", "monkey-face", "skull"}
NOT_FIGURES = ("hand", "body", "person-sport", "family")
SAMPLE_PX = 96
VIEW = 32.0


def read(packs: list[Path], name: str) -> Any:
    for pack in packs:
        with tarfile.open(pack) as archive:
            if f"package/{name}" in archive.getnames():
                file = archive.extractfile(f"package/{name}")
                assert file is not None
                return json.load(file)
    raise SystemExit(f"none of the packages contains {name}")


def outline(body: str) -> tuple[list[float], list[object]]:
    """Return the bounding box of a drawing, in units of a 32 × 32 drawing, and its cut.

    The cut is a wide lower edge, as that of a head with shoulders: its left end, its right end and its colour. It is an
    empty list if the drawing has none.
    """
    size = f'width="{SAMPLE_PX}" height="{SAMPLE_PX}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" {size}>{body}</svg>'
    pixels = pyvips.Image.svgload_buffer(svg.encode()).numpy()
    alpha = pixels[..., 3] > 64
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * (VIEW / SAMPLE_PX)
    lowest = np.flatnonzero(alpha[rows[-1] - 2])
    cut: list[object] = []
    if box[3] > 29 and len(lowest) > SAMPLE_PX / 2:
        color = np.median(pixels[rows[-1] - 2, lowest, :3], axis=0).astype(int)
        ends = [round(float(v) * VIEW / SAMPLE_PX, 2) for v in (lowest[0], lowest[-1] + 1)]
        cut = [*ends, "#" + bytes(color.tolist()).hex()]
    return [round(float(v), 2) for v in box], cut


def main(packs: list[Path]) -> None:
    icons = read(packs, "icons.json")["icons"]
    by_char = {code.upper(): name for code, name in read(packs, "chars.json").items()}
    annotations = {
        language: read(packs, f"annotations/{language}/annotations.json")["annotations"]["annotations"]
        for language in ("en", "zh")
    }
    names = read(packs, "meta/groups.json")["subgroups"]
    pictograms = []
    for emoji in read(packs, "en/data.json"):
        subgroup = names.get(str(emoji.get("subgroup")), "")
        subgroup = emoji["label"] if emoji["label"] in SMILEYS else subgroup
        group = GROUPS.get(emoji.get("group"), "smileys" if subgroup in SMILEYS else "")
        codes = emoji["hexcode"].upper().replace("-FE0F", "")
        icon = by_char.get(emoji["hexcode"].upper()) or by_char.get(codes)
        if not group or icon not in icons:
            continue
        entry: dict[str, Any] = {"name": icon, "group": group, "kind": subgroup}
        for language, table in annotations.items():
            annotation = table.get(emoji["emoji"]) or table.get(emoji["emoji"].replace("\ufe0f", ""))
            if annotation and "tts" in annotation:
                name = annotation["tts"][0]
                entry[language] = [name, *(word for word in annotation.get("default", []) if word != name)]
        if "en" not in entry or "zh" not in entry:
            continue
        body = icons[icon]["body"]
        entry["box"], cut = outline(body)
        if cut and group == "people" and not subgroup.startswith(NOT_FIGURES):
            entry["cut"] = cut
        entry["body"] = body
        pictograms.append(entry)
    pictograms.sort(key=lambda entry: entry["name"])
    compressed = gzip.compress(json.dumps(pictograms, ensure_ascii=False, separators=(",", ":")).encode(), 9, mtime=0)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(compressed)
    print(f"{len(pictograms)} pictograms, {len(compressed):,} bytes")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
