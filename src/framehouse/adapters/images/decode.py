"""Decode images, and read their claims, with limits on time and memory. `checker` runs this module as a process.

The process reads requests from standard input. Each request consists of a header (`HEADER`), certificates as PEM, and
an image file. The header contains the action, the length of the certificates and the length of the file. For each
request, the process writes one line of JSON: {"bad": "is damaged …"} or the result. The result of the action CHECK is
{"size": [width, height]}. The result of the action READ_CLAIMS is {"claims": …}, with the fields of FileClaims. At the
end of its input, the process exits. The arguments of the process are the types of references that it accepts.
"""

import io
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from framehouse.adapters.images.decoder_requests import HEADER, READ_CLAIMS
from framehouse.adapters.reference_files.clean_file import (
    START_OF_SCAN,
    has_end_marker,
    jpeg_segments,
    pixel_bytes,
    pixel_data,
    png_chunks,
    without_metadata,
)
from framehouse.adapters.reference_files.file_types import HEAD_BYTES, accept_types, has_manifest, image_type
from framehouse.adapters.reference_files.header import BadImage, inspect
from framehouse.adapters.reference_files.open_image import open_image
from framehouse.domain.reference import reference_problem

MEMORY_BYTES = 1_500_000_000
"""The limit on the address space of the process, in bytes. A decoded image of 51 megapixels needs 204 MB. To rotate or
convert an image, Pillow needs two or three copies of the image."""
CPU_S = 8
"""The limit on CPU time per image, in seconds. The largest allowed images take one or two seconds."""
_NICENESS = 5
_PRIORITY_ATTEMPTS, _PRIORITY_PAUSE_S = 20, 0.11
_MAX_OTHER_CHUNKS, _MAX_IDAT_CHUNKS = 2000, 40_000
"""The maximum number of non-IDAT chunks and the maximum number of IDAT chunks in a PNG file. If each IDAT chunk is 4
KiB long, a file of ten megabytes contains about 2,500 IDAT chunks."""
_INCOMPLETE = "is damaged: it ends before the end of its pixels"
_MAX_JPEG_SCANS = 100
"""The maximum number of scans in a JPEG. Baseline files usually have 1 scan, and progressive files have about 10 scans.
Even a small file can have 100,000 scans, which take minutes to decode."""
_MAX_SCANNED_PIXELS = 1_000_000_000
"""The maximum product of the number of scans and the number of pixels. The decoder processes all pixels in each scan,
so this product determines the decoding time. An image of 50 megapixels can have 20 scans, which take about a second."""


def check_image(content: bytes) -> tuple[int, int]:
    """Decode an image completely, rotate it and convert it to sRGB.

    Any error that the image would cause in an engine therefore occurs here. Returns the width and height in pixels
    after the EXIF rotation. Raises BadImage.
    """
    width, height = inspect(io.BytesIO(content), len(content))
    kind = image_type(content[:HEAD_BYTES])
    if kind == "jpg":
        _check_scans(content, width * height)
    elif kind == "png":
        _check_chunks(content)
    width, height = open_image(content).size
    if kind in ("jpg", "png") and not has_end_marker(content):
        _check_complete(content)
    if has_manifest(content):
        # the worker parses the manifest again when it signs the image, with the same library, but without limits
        from framehouse.adapters.content_credentials.credential_signer import parse_manifest  # slow to import

        parse_manifest(content)
    # the decoded size is also checked, because a second header may contradict the first header
    if problem := reference_problem(width, height):
        raise BadImage(problem)
    return width, height


def _check_complete(content: bytes) -> None:
    """Raise BadImage for an image without an end marker whose pixels are not complete.

    Pillow does not report missing pixels in all such files. libvips reports missing pixels of a JPEG as a warning.
    """
    if not content.startswith(b"\xff\xd8"):
        if len(pixel_data(content)) < pixel_bytes(content):
            raise BadImage(_INCOMPLETE)
        return
    import pyvips  # imported here, because almost all files have an end marker

    try:
        pyvips.Image.jpegload_buffer(without_metadata(content), access="sequential", fail_on="warning").avg()
    except pyvips.Error as error:
        if "premature end" in str(error):
            raise BadImage(_INCOMPLETE) from error


def _check_scans(content: bytes, pixels: int) -> None:
    """Raise BadImage for a JPEG with too many scans for its number of pixels.

    Data after the end of the image, such as the video that some phones append, is ignored.
    """
    max_scans = min(_MAX_JPEG_SCANS, _MAX_SCANNED_PIXELS // pixels)
    scans = 0
    for marker, _, _ in jpeg_segments(content):
        scans += marker == START_OF_SCAN
        if scans > max_scans:
            raise BadImage(
                f"is a JPEG with more than {max_scans} scans, which is not accepted for an image of this size"
            )


def _check_chunks(content: bytes) -> None:
    """Raise BadImage for a PNG with too many chunks, or with several headers or colour profiles."""
    unique = {b"IHDR": 0, b"iCCP": 0}
    idat_chunks = other_chunks = 0
    for name, _, _ in png_chunks(content):
        if name == b"IDAT":
            idat_chunks += 1
        else:
            other_chunks += 1
        if name in unique:
            unique[name] += 1
        if other_chunks > _MAX_OTHER_CHUNKS or idat_chunks > _MAX_IDAT_CHUNKS or max(unique.values()) > 1:
            raise BadImage(
                "is damaged or malicious: it has too many PNG chunks, or more than one header or colour profile"
            )


def main() -> None:
    # this process ignores Ctrl-C, because the worker first finishes its batches and then kills this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    accept_types(sys.argv[1:])
    Image.preinit()
    take_low_priority()
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    source = sys.stdin.buffer
    while len(header := source.read(HEADER.size)) == HEADER.size:
        action, anchors_bytes, content_bytes = HEADER.unpack(header)
        anchors, content = source.read(anchors_bytes), source.read(content_bytes)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_S)
        try:
            read = action == READ_CLAIMS
            response: dict[str, object] = _claims(content, anchors) if read else {"size": check_image(content)}
        except BadImage as error:
            response = {"bad": str(error)}
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()


def _claims(content: bytes, anchors: bytes) -> dict[str, object]:
    from framehouse.adapters.images.file_claims import read_claims  # imported here, because loading c2pa is slow

    return {"claims": asdict(read_claims(content, anchors))}


def take_low_priority(niceness: int = _NICENESS) -> None:
    """Let other processes of the machine use the processors first. `niceness` is a value from 0 to 19 (lowest).

    This process leaves the session of its parent. Linux may divide the processors equally among sessions (sched(7),
    autogroup). Within one session, this process would use up the share of its parent.
    """
    os.nice(niceness)
    with suppress(OSError):  # this process already leads a session
        os.setsid()
    for _ in range(_PRIORITY_ATTEMPTS):
        try:
            Path("/proc/self/autogroup").write_text(str(niceness))
        except BlockingIOError:  # the kernel allows one such change of an unprivileged user per 100 ms
            time.sleep(_PRIORITY_PAUSE_S)
        except OSError:  # the kernel has no autogroups
            return
        else:
            return


def _limit(resource_id: int, soft_limit: int) -> None:
    """Set a soft limit for this process. Does nothing if the system does not support the limit."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource_id, (soft_limit, resource.getrlimit(resource_id)[1]))


if __name__ == "__main__":
    main()
