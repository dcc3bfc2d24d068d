"""The claims of an image file: its content credentials, its metadata and its label. All of them may be hostile."""

import io
import socket
import struct
import zlib
from collections.abc import AsyncIterator

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.reference_files.header import BadImage
from framehouse.domain.task import OutputFormat
from framehouse.domain.verification import MAX_VERIFIED_BYTES, AigcLabel, Generation
from tests.support.image_files import image_file, png_chunk
from tests.support.signed_images import FACTS, identity, pixels, signed, unsigned, with_text

ANCHORS = identity().certificate + identity().authority
STATED = Generation(str(FACTS["task"]), 0, "kling-v3-omni", "previz")
HUGE_HEADER = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))


@pytest.fixture
async def checker() -> AsyncIterator[ImageChecker]:
    pool = ImageChecker(processes=1)
    yield pool
    await pool.close()


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
async def test_a_signed_file_names_its_signer_and_its_generation(checker: ImageChecker, format: OutputFormat) -> None:
    claims = await checker.read_claims(signed(unsigned(format=format), format=format), ANCHORS)
    credentials = claims.credentials
    assert credentials
    assert credentials.signed_here
    assert credentials.intact
    assert credentials.generation == STATED
    assert credentials.source_type == "algorithmicMedia"
    assert credentials.signer
    assert (credentials.signer.name, credentials.signer.trusted) == ("Framehouse", True)
    assert claims.facts == STATED
    assert len(claims.hashes[0]) == 64


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
async def test_a_flipped_byte_of_the_pixels_is_found_even_if_they_cannot_be_decoded(
    checker: ImageChecker, format: OutputFormat
) -> None:
    content = bytearray(signed(unsigned(format=format), format=format))
    # WebP files end with the credentials, and other files start with them
    content[300 if format == "webp" else -200] ^= 1
    credentials = (await checker.read_claims(bytes(content), ANCHORS)).credentials
    assert credentials
    assert credentials.signed_here
    assert not credentials.intact


async def test_text_that_is_added_after_signing_is_found(checker: ImageChecker) -> None:
    credentials = (await checker.read_claims(with_text(signed(unsigned())), ANCHORS)).credentials
    assert credentials
    assert (credentials.authentic, credentials.intact) == (True, False)


async def test_no_flipped_byte_of_the_credentials_changes_what_they_state(checker: ImageChecker) -> None:
    content = signed(unsigned())
    start, end = content.index(b"caBX"), content.index(b"caBX") + 2400
    for position in range(start + 4, end, 53):
        changed = bytearray(content)
        changed[position] ^= 1
        credentials = (await checker.read_claims(bytes(changed), ANCHORS)).credentials
        if credentials and credentials.intact and credentials.signed_here:
            assert credentials.generation == STATED, position
        if credentials and credentials.signed_here:
            assert credentials.generation in (STATED, Generation(model="previz"), Generation()), position


async def test_a_certificate_of_another_authority_does_not_belong_to_this_deployment(checker: ImageChecker) -> None:
    content = signed(unsigned(), identity("Somebody", "Framehouse"))
    for anchors in (ANCHORS, b""):
        credentials = (await checker.read_claims(content, anchors)).credentials
        assert credentials
        assert credentials.intact
        assert not credentials.signed_here
        assert credentials.signer
        assert (credentials.signer.organization, credentials.signer.trusted) == ("Somebody", False)


async def test_another_certificate_of_the_same_authority_does_not_belong_to_this_deployment(
    checker: ImageChecker,
) -> None:
    """An authority that sells certificates signs those of many deployments."""
    bought, other = identity("A shop", "bought"), identity("Another shop", "other")
    credentials = (
        await checker.read_claims(signed(unsigned(), bought), other.certificate + bought.authority)
    ).credentials
    assert credentials
    assert credentials.signer
    assert credentials.signer.trusted
    assert not credentials.signed_here


async def test_the_files_from_which_an_image_was_made_are_listed(checker: ImageChecker) -> None:
    changed = bytearray(signed(unsigned(1)))
    changed[-200] ^= 1
    files = [(signed(unsigned(1)), "a photo"), (bytes(changed), "a changed photo"), (image_file(), "a scan")]
    credentials = (await checker.read_claims(signed(unsigned(), used=files), ANCHORS)).credentials
    assert credentials
    assert [(used.title, used.altered) for used in credentials.used_files] == [
        ("a photo", False),
        ("a changed photo", True),
        ("a scan", None),
    ]


async def test_the_url_of_a_remote_manifest_is_not_fetched(checker: ImageChecker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/manifest"
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{url}"/>'
            "</rdf:RDF></x:xmpmeta>"
        )
        claims = await checker.read_claims(png_with_xmp(packet), b"")
        assert claims.credentials is None
        with pytest.raises(BlockingIOError):
            listening.accept()


def png_with_xmp(packet: str, *, compressed: bool = False) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", packet, zip=compressed)
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


FACTS_ATTRIBUTE = '<a xmlns:f="https://framehouse.invalid/ns/1.0/" f:facts="{facts}"/>'
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    "packet",
    [
        BOMB + '<a xmlns:f="https://framehouse.invalid/ns/1.0/" f:facts="{&quot;engine&quot;: &quot;&c;&quot;}"/>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + FACTS_ATTRIBUTE,
        "<a" * 10_000,
        "<a>" * 100_000 + "</a>" * 100_000,
        FACTS_ATTRIBUTE.format(facts="[" * 100_000),
        FACTS_ATTRIBUTE.format(facts="{&quot;engine&quot;: {}}"),
        "",
        "\0",
    ],
    ids=["entities", "external", "not XML", "deep XML", "deep JSON", "wrong type", "empty", "zero"],
)
async def test_hostile_metadata_states_nothing(checker: ImageChecker, packet: str) -> None:
    claims = await checker.read_claims(png_with_xmp(packet), b"")
    assert claims.facts is None
    assert claims.hashes


async def test_a_compressed_packet_of_gigabytes_is_not_read(checker: ImageChecker) -> None:
    body = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 300_000_000, 9)
    content = image_file()
    end = content.rindex(b"IEND") - 4
    assert (await checker.read_claims(content[:end] + png_chunk(b"iTXt", body) + content[end:], b"")).facts is None


async def test_a_compressed_packet_is_read(checker: ImageChecker) -> None:
    facts = "{&quot;engine&quot;: &quot;previz&quot;, &quot;index&quot;: true}"
    claims = await checker.read_claims(png_with_xmp(FACTS_ATTRIBUTE.format(facts=facts), compressed=True), b"")
    assert claims.facts == Generation(engine="previz")


LABEL = '{"Label":"1","ContentProducer":"00119144030075252639110001","ProduceID":"x"}'


async def test_the_label_is_read_from_xmp_and_from_png_texts(checker: ImageChecker) -> None:
    expected = AigcLabel("1", "00119144030075252639110001")
    xmp = f'<TC260:AIGC xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">{LABEL}</TC260:AIGC>'
    texts = PngImagePlugin.PngInfo()
    texts.add_text("AIGC", LABEL)
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "PNG", pnginfo=texts)
    for content in (png_with_xmp(xmp), buffer.getvalue()):
        assert (await checker.read_claims(content, b"")).label == expected


async def test_damaged_credentials_are_reported(checker: ImageChecker) -> None:
    content = signed(unsigned())
    store = content.index(b"caBX") + 4
    changed = bytearray(content)
    changed[store + 300] ^= 255
    credentials = (await checker.read_claims(bytes(changed), ANCHORS)).credentials
    assert credentials
    assert not credentials.authentic
    assert not credentials.signed_here


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"GIF89a" + bytes(100), "is a GIF image"),
        (b"hello", "is a text"),
        (image_file()[:200], "is damaged"),
        (b"\x89PNG\r\n\x1a\n" + HUGE_HEADER + png_chunk(b"IDAT"), "at most 51 megapixels"),
    ],
)
async def test_files_that_are_not_images_are_refused(checker: ImageChecker, content: bytes, problem: str) -> None:
    with pytest.raises(BadImage, match=problem):
        await checker.read_claims(content, ANCHORS)


async def test_small_and_narrow_images_are_accepted(checker: ImageChecker) -> None:
    assert (await checker.read_claims(image_file(8, 900), b"")).hashes == ()


async def test_the_same_process_checks_references_and_reads_claims(checker: ImageChecker) -> None:
    for _ in range(2):
        assert await checker.check(image_file(400, 300)) == (400, 300)
        assert (await checker.read_claims(signed(unsigned()), ANCHORS)).credentials


def test_the_size_of_the_largest_generated_image_is_allowed() -> None:
    """4096x4096 pixels of noise, which cannot be compressed, are the largest file that an engine can generate."""
    assert np.prod((4096, 4096, 3)) < MAX_VERIFIED_BYTES
