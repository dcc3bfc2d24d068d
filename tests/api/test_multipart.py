"""Forms: the fields and files of a body, and bodies that are not valid forms."""

import io
import random
import time

import httpx
import pytest

from framehouse.domain.reference import Content
from framehouse.entrypoints.api import multipart
from framehouse.entrypoints.api.multipart import NotAForm, read_form


def parsed(content_type: str, body: bytes) -> list[tuple[str, str | bytes]]:
    fields: list[tuple[str, str | bytes]] = []
    for name, value in read_form(content_type, lambda: io.BytesIO(body)):
        if isinstance(value, Content):
            with value.open() as file:
                content = file.read()
            assert len(content) == value.size
            fields.append((name, content))
        else:
            fields.append((name, value))
    return fields


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


TYPE = "multipart/form-data; boundary=xyz"


def test_fields_and_files_are_read_in_order() -> None:
    files = [
        ("image[]", ("a.png", b"\r\n--a\r\n")),
        ("image[]", ("b.png", b"")),
        ("mask", ("m.png", bytes(range(256)))),
    ]
    request = httpx.Request("POST", "http://x", data={"prompt": "a fox 🦊", "n": "2"}, files=files)
    assert parsed(request.headers["content-type"], request.read()) == [
        ("prompt", "a fox 🦊"),
        ("n", "2"),
        ("image[]", b"\r\n--a\r\n"),
        ("image[]", b""),
        ("mask", bytes(range(256))),
    ]


@pytest.mark.parametrize("window", [7, 8, 13, 64, 1000])
def test_boundaries_are_found_wherever_a_window_ends(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(multipart, "_WINDOW_BYTES", window)
    chooser = random.Random(window)
    pieces = [b"\r\n", b"--xyz", b"--xy", b"-", b"x", b"\r", b"\n", b"--xyzq", b"abc"]
    for _ in range(200):
        content = b"".join(chooser.choices(pieces, k=chooser.randrange(30)))
        if b"\r\n--xyz\r\n" in b"\r\n" + content + b"\r\n" or b"\r\n--xyz--" in b"\r\n" + content + b"\r\n":
            continue
        head = b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        assert parsed(TYPE, form(head + content, head + content)) == [("image", content)] * 2


HEAD = b'Content-Disposition: form-data; name="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("multipart/form-data", form(HEAD), "no valid boundary"),
        ("multipart/form-data; boundary=" + "x" * 201, form(HEAD), "no valid boundary"),
        (TYPE, b"", "ends too early"),
        (TYPE, b"hello", "not a valid form"),
        (TYPE, b"--xyz\r\n" + HEAD + b"no end", "ends too early"),
        (TYPE, form(b"no headers"), "no headers"),
        (TYPE, form(b"X: " + b"x" * 20_000 + b"\r\n" + HEAD), "headers are too large"),
        (TYPE, form(HEAD + b"x" * 1_000_001), "text fields"),
        (TYPE, form(*[HEAD] * 201), "more than 200 fields"),
    ],
)
def test_an_invalid_form_is_refused(content_type: str, body: bytes, message: str) -> None:
    with pytest.raises(NotAForm, match=message):
        parsed(content_type, body)


@pytest.mark.parametrize("filler", [b"\r\n", b"\r\n--x", b"\r\n--xyzq", b"q--xyz", b"\r\n--xyz-"])
def test_a_body_of_almost_boundaries_takes_no_long_time(filler: bytes) -> None:
    body = form(
        b'Content-Disposition: form-data; name="i"; filename="a"\r\n\r\n' + filler * (20_000_000 // len(filler)) + b"q"
    )
    began = time.process_time()
    ((_, content),) = parsed(TYPE, body)
    assert len(content) > 19_000_000
    assert time.process_time() - began < 20, "a parser that compares byte by byte needs minutes for a large body"
