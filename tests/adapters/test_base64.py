"""Images in base64 and in data URLs, in all forms that clients send, and in chunks of every size."""

import base64
import random
import textwrap
from urllib.parse import quote

import pytest

from framehouse.adapters.images.base64 import Decoder, NotBase64, decode_base64

CONTENT = bytes(range(256)) * 9 + b"\xfb\xef\xbe\xff" * 40 + b"end"
TEXT = base64.b64encode(CONTENT).decode()
assert TEXT.count("+") > 20

FORMS = {
    "plain": TEXT,
    "without padding": TEXT.rstrip("="),
    "line breaks": textwrap.fill(TEXT, 76),
    "line breaks of Windows": textwrap.fill(TEXT, 64).replace("\n", "\r\n"),
    "folded lines": textwrap.fill(TEXT, 76).replace("\n", " "),
    "URL-safe": base64.urlsafe_b64encode(CONTENT).decode().rstrip("="),
    "decoded as a form": TEXT.replace("+", " "),
    "surrounded by white space": f" \n\t{TEXT}\n ",
    "data URL": f"data:image/png;base64,{TEXT}",
    "capital letters": f"DATA:IMAGE/PNG;BASE64,{TEXT}",
    "without media type": f"data:;base64,{TEXT}",
    "only parameters": f"data:;charset=utf-8;base64,{TEXT}",
    "percent-encoded name": f"data:image/png;name=my%20photo%2Cone.png;base64,{TEXT}",
    "quoted name": f'data:image/png;name="my photo.png";base64,{TEXT}',
    "spaces in the head": f"data: image/png ; name=a b.png ; base64 ,{TEXT}",
    "a wrong media type": f"data:text;base64,{TEXT}",
    "leading space": f"  data:image/png;base64,{TEXT}",
    "percent-encoded": f"data:image/png;base64,{quote(TEXT, safe='')}",
    "URL-safe in a data URL": "data:image/png;base64," + base64.urlsafe_b64encode(CONTENT).decode(),
    "decoded as a form in a data URL": f"data:image/png;base64,{TEXT}".replace("+", " "),
    "not base64": f"data:image/png,{quote(CONTENT)}",
    "a long name": f"data:image/png;name={'n' * 900};base64,{TEXT}",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_decoded_to_the_same_bytes(form: str) -> None:
    assert decode_base64(FORMS[form]) == CONTENT


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_the_result_does_not_depend_on_the_chunks(form: str, size: int) -> None:
    if size < 64 and form == "decoded as a form":
        pytest.skip("the first chunk must show whether a space is a plus sign")
    text, decoder, decoded = FORMS[form].encode(), Decoder(), b""
    for start in range(0, len(text), size):
        decoded += decoder.feed(text[start : start + size])
    assert decoded + decoder.feed(b"", last=True) == CONTENT


@pytest.mark.parametrize("name", ["", "a", "%", "%2"])
def test_a_short_percent_encoded_text_is_decoded(name: str) -> None:
    assert decode_base64(f"data:,{name}") == name.encode()


@pytest.mark.parametrize("seed", range(50))
def test_plus_signs_that_were_decoded_as_spaces_are_restored(seed: int) -> None:
    content = random.Random(seed).randbytes(3000)
    text = base64.b64encode(content).decode()
    assert decode_base64(text.replace("+", " ")) == content


@pytest.mark.parametrize("text", ["a fox", "data:image/png;base64,!", "data:image/png", "AAA=AAAA", "é", "<svg/>"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(NotBase64):
        decode_base64(text)
