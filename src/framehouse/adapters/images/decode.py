"""A reference's pixels, decoded to the end to see whether they can be: the program of the process with limits.

It is told of one file after the other on standard input (its length in four bytes, then the file) and answers each with
a line of JSON: {"size": [width, height]} or {"bad": "is damaged …"}. It ends with its input. checker.py starts it.
"""

import io
import json
import re
import resource
import signal
import struct
import sys
import warnings
from contextlib import suppress

from PIL import Image, ImageOps

from framehouse.adapters.images.header import BadImage, inspect
from framehouse.domain.reference import MAX_PIXELS, reference_problem

MEMORY_BYTES = 1_500_000_000
"""Of address space. 40 megapixels are 160 MB, and turning or converting them needs two or three copies."""
CPU_S = 8
"""For one picture; the largest that are allowed take one or two."""
_MOST_CHUNKS, _MOST_PIXEL_CHUNKS = 2000, 40_000
"""Of a PNG: besides its pixels, and of them. Encoders that write them by the 4 KiB make 2,500 of ten megabytes."""
_MARKER = re.compile(rb"\xff[\x01\xc0-\xcf\xd8-\xfe]")
"""What is no stuffing, padding or restart marker."""
_MAX_JPEG_SCANS = 100
"""Ordinary files have 1 or about 10; a small file with hundreds of thousands keeps a decoder busy for minutes."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def check_image(content: bytes) -> tuple[int, int]:
    """Width and height, upright, of a file that can be decoded to the end, and turned and converted as engines do.
    Raises BadImage."""
    inspect(io.BytesIO(content), len(content))
    if content.startswith(b"\xff\xd8"):
        _check_scans(content)
    else:
        _check_chunks(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                image.load()
                width, height = ImageOps.exif_transpose(image).convert("RGB").size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"has too many pixels; at most {MAX_PIXELS // 1_000_000} megapixels are allowed") from error
    except MemoryError as error:
        raise BadImage("is damaged or hostile: it needs too much memory") from error
    except (OSError, ValueError, SyntaxError, struct.error, KeyError, IndexError, TypeError) as error:
        raise BadImage(f"is damaged: {error}") from error
    if problem := reference_problem(width, height):  # a second header may say something else than the first
        raise BadImage(problem)
    return width, height


def _check_scans(content: bytes) -> None:
    """Raises BadImage for a JPEG of too many scans. What stands behind its end, such as a phone's film, is not looked
    at, nor what stands inside its segments."""
    at, scans = 2, 0
    while found := _MARKER.search(content, at):
        marker, at = found[0][-1], found.end()
        if marker == 0xD9:
            return
        scans += marker == 0xDA
        if scans > _MAX_JPEG_SCANS:
            raise BadImage(f"is a JPEG of more than {_MAX_JPEG_SCANS} scans, which is not accepted")
        if marker != 0x01:
            at += int.from_bytes(content[at : at + 2])


def _check_chunks(content: bytes) -> None:
    """Raises BadImage for a PNG of too many chunks, or of several headers or colour profiles, which no real one has."""
    at, once = 8, {b"IHDR": 0, b"iCCP": 0}
    pixels = others = 0
    while at + 8 <= len(content):
        name = content[at + 4 : at + 8]
        at += 12 + int.from_bytes(content[at : at + 4])
        if name == b"IDAT":
            pixels += 1
        else:
            others += 1
        if name in once:
            once[name] += 1
        if others > _MOST_CHUNKS or pixels > _MOST_PIXEL_CHUNKS or max(once.values()) > 1:
            raise BadImage("is damaged or hostile: it has more parts than pictures have")
        if name == b"IEND":
            return


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which ends this process when it is done
    Image.preinit()
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    source = sys.stdin.buffer
    while len(head := source.read(4)) == 4:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_S)
        try:
            answer: dict[str, object] = {"size": check_image(source.read(*struct.unpack(">I", head)))}
        except BadImage as error:
            answer = {"bad": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _limit(kind: int, most: int) -> None:
    """Limit this process, as far as the system can."""
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))


if __name__ == "__main__":
    main()
