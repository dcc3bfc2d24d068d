"""Writes the few seeds that the fuzzing starts from into a folder: they are made, so that none need be kept."""

import io
import json
import sys
from base64 import b64encode
from pathlib import Path

from PIL import Image


def main(folder: Path) -> None:
    for name in ("reader", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (300, 300), (9, 99, 199))
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, format in (
        ("RGB", "PNG"),
        ("P", "PNG"),
        ("I;16", "PNG"),
        ("RGB", "JPEG"),
        ("CMYK", "JPEG"),
        ("L", "JPEG"),
    ):
        buffer = io.BytesIO()
        (Image.new(mode, (300, 300)) if mode == "I;16" else picture.convert(mode)).save(buffer, format, exif=exif)
        (folder / "images" / f"{mode.replace(';', '')}.{format.lower()}").write_bytes(buffer.getvalue())
    long = b64encode(bytes(range(60))).decode()
    values = [
        {"image_list": [{"image": long}, {"image": f"data:image/png;base64,{long}"}]},
        "é😀\\" * 20,
        [long + "\n"],
    ]
    for number, value in enumerate(values):
        for ascii in (True, False):
            text = json.dumps(value, ensure_ascii=ascii).replace("/", "\\/")
            (folder / "reader" / f"{number}{ascii}.json").write_text(text)


main(Path(sys.argv[1]))
