"""What happens if images cannot be signed, or if the manifests of other files are damaged or hostile."""

import asyncio
import io
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c2pa import Builder, C2paSignerInfo, Context, Settings, Signer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image

from framehouse.adapters.content_credentials import certificates, credential_signer
from framehouse.adapters.content_credentials.certificates import create_identity, read_identity
from framehouse.adapters.content_credentials.credential_signer import CredentialSigner, parse_manifest
from framehouse.adapters.content_credentials.manifests import Claims, Ingredient, SigningFailed
from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres import signing_identities
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.signing_identities import known_chains, own_identity
from framehouse.adapters.reference_files.header import BadImage
from framehouse.pipeline import generate
from framehouse.pipeline.finish import Finishing
from framehouse.settings import BadSettings, load_settings
from framehouse.wiring import check_signing_files, open_signer
from tests.support import signing_files
from tests.support.database import Server, server_database
from tests.support.image_files import image_file
from tests.support.in_process_deployment import RULES, MakeDeployment
from tests.support.outside_readers import active_manifest, signature_problems, xmp_packets
from tests.support.signing_files import issue, pem
from tests.support.sockets import listening
from tests.support.tasks import assert_nothing_left, wait_for_task

OWN, OTHER = create_identity(), create_identity()
CLAIMS = Claims("1", "trainedAlgorithmicMedia", "a model", {"task_id": "t"})
PNG = image_file(40, 30)
ERRORS = (SigningFailed("no"), RuntimeError("an unexpected error"))


class FailingSigner:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def sign(self, *_: object, **__: object) -> bytes:
        raise self.error


def comment(content: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(content)) as image:
        facts: dict[str, Any] = json.loads(image.info["Comment"])
    return facts


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_an_image_that_cannot_be_signed_is_delivered_and_says_so(
    make_deployment: MakeDeployment, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = await make_deployment({"engine": "previz"})
    deployment.rules = replace(RULES, finishing=Finishing("Framehouse 1", signer=FailingSigner(error)))  # type: ignore[arg-type]
    ticket = await deployment.submit(watermark_info={"enabled": True})
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status == "succeed"
    for key in (task.images[0].key, task.images[0].watermark_key):
        content = await deployment.storage.get(key)
        assert content
        assert comment(content)["not_signed"] == "the image could not be signed"
        assert len(xmp_packets(content)) == 1
        assert b"not_signed" in xmp_packets(content)[0]
        assert b"jumb" not in content
    assert f"of task {ticket.task_id} is not signed" in caplog.text


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_task_fails_and_costs_nothing_if_images_must_be_signed(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(generate, "FINISH_PAUSES_S", (0.0,))
    deployment = await make_deployment({"engine": "previz"})
    finishing = Finishing("Framehouse 1", signer=FailingSigner(error), require_signature=True)  # type: ignore[arg-type]
    deployment.rules = replace(RULES, finishing=finishing)
    ticket = await deployment.submit()
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert (task.status, task.status_message) == ("failed", "internal error: the image could not be signed")
    await assert_nothing_left(deployment, used=0)


@asynccontextmanager
async def hanging() -> Any:
    """A time-stamp authority that never responds."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(serve) as url:
        yield url


def signs_without_time_stamps(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Check that four threads sign with this authority, and that a single warning is logged."""
    signer = CredentialSigner(OWN, time_stamp_url=url)
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(4) as threads:
        for signed in threads.map(lambda _: signer.sign(PNG, "image/png", CLAIMS), range(4)):
            assert signature_problems(signed, "image/png", OWN.chain) == []
            assert "time" not in active_manifest(signed)["signature_info"]
        assert signer.sign(PNG, "image/png", CLAIMS)
    assert caplog.text.count("images are signed without a time stamp for 60 s") == 1


def test_a_time_stamp_authority_that_refuses_is_not_needed(caplog: pytest.LogCaptureFixture) -> None:
    signs_without_time_stamps("http://127.0.0.1:1/", caplog)


@pytest.mark.long  # the library waits for 30 s
async def test_a_time_stamp_authority_that_hangs_is_not_needed(caplog: pytest.LogCaptureFixture) -> None:
    async with hanging() as url:
        await asyncio.to_thread(signs_without_time_stamps, url, caplog)


CHAIN, KEY = issue()
EXPIRED, EXPIRED_KEY = issue(valid_days=-5)
FOR_CODE, CODE_KEY = issue(purposes=[ExtendedKeyUsageOID.CODE_SIGNING])
FOREIGN_CURVE, CURVE_KEY = issue(curve=ec.SECP256K1())
BAD_FILES: dict[str, tuple[bytes, bytes, str]] = {
    "wrong key": (b"".join(CHAIN), pem(EXPIRED_KEY), "the key belongs to another certificate"),
    "expired": (b"".join(EXPIRED), pem(EXPIRED_KEY), "the certificate is only valid from "),
    "password": (b"".join(CHAIN), pem(KEY, b"secret"), "a key without a password is needed"),
    "issuer first": (b"".join(CHAIN[::-1]), pem(KEY), "the first certificate of the file must match"),
    "wrong order": (b"".join([*CHAIN, EXPIRED[0]]), pem(KEY), "the certificates are in the wrong order"),
    "wrong purpose": (b"".join(FOR_CODE), pem(CODE_KEY), "cannot sign images: "),
    "wrong curve": (b"".join(FOREIGN_CURVE), pem(CURVE_KEY), "the type of the key is not allowed in C2PA"),
    "no certificate": (b"text", pem(KEY), "the certificate is not a certificate in PEM format"),
    "no key": (b"".join(CHAIN), b"text", "the key is not a private key in PEM format"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_certificate_that_cannot_sign_is_reported_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    chain, key, message = BAD_FILES[name]
    for variable, path in signing_files.write(tmp_path, chain, key).items():
        monkeypatch.setenv(variable, path)
    with pytest.raises(BadSettings) as error:
        check_signing_files(load_settings(data_dir=tmp_path))
    assert message in str(error.value)
    assert str(tmp_path / "chain.pem") in str(error.value)
    assert "PRIVATE" not in str(error.value)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(BadSettings, match=r"key\.pem: No such file"):
        check_signing_files(load_settings(data_dir=tmp_path))
    monkeypatch.setenv("FRAMEHOUSE_SIGN_IMAGES", "false")
    assert check_signing_files(load_settings(data_dir=tmp_path)) is None


@pytest.mark.parametrize("format", ["TraditionalOpenSSL", "PKCS8"])
def test_a_valid_certificate_signs(format: str) -> None:
    key = KEY.private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, format), serialization.NoEncryption()
    )
    signed = CredentialSigner(read_identity(b"".join(CHAIN), key)).sign(PNG, "image/png", CLAIMS)
    assert signature_problems(signed, "image/png", CHAIN[1].decode()) == []
    assert active_manifest(signed)["signature_info"]["issuer"] == "Example Studio"


def signed_by_another() -> bytes:
    return CredentialSigner(OTHER).sign(PNG, "image/png", CLAIMS)


def with_large_thumbnail() -> bytes:
    """A file whose manifest contains a thumbnail of more than two megabytes."""
    noise = np.random.default_rng(1).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    thumbnail = io.BytesIO()
    Image.fromarray(noise).save(thumbnail, "PNG")
    assert len(thumbnail.getvalue()) > 2_000_000
    info = C2paSignerInfo(b"es256", OTHER.chain.encode(), OTHER.key.encode(), None)
    settings = Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    created = {"action": "c2pa.created", "digitalSourceType": "http://example.invalid/"}
    definition = {
        "claim_generator_info": [{"name": "a camera"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
        "thumbnail": {"format": "image/png", "identifier": "thumbnail"},
    }
    builder, signed = Builder(definition, Context(settings, Signer.from_info(info))), io.BytesIO()
    builder.add_resource("thumbnail", io.BytesIO(thumbnail.getvalue()))
    builder.sign("image/png", io.BytesIO(PNG), signed)
    return signed.getvalue()


def damaged_manifest_of(content: bytes) -> bytes:
    """The content with a manifest that cannot be parsed."""
    signed = bytearray(CredentialSigner(OTHER).sign(content, "image/png", CLAIMS))
    at = signed.index(b"c2pa.claim.v2")
    signed[at : at + 200] = b"\xff" * 200
    return bytes(signed)


def remote_manifest(url: str) -> bytes:
    """A file without a manifest, whose XMP packet names the URL of one. It also contains the words of a manifest."""
    description = f'<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{url}/m.c2pa"/>'
    xmp = (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{description}</rdf:RDF></x:xmpmeta>'
        '<!-- jumb c2pa --><?xpacket end="r"?>'
    )
    with Image.open(io.BytesIO(PNG)) as image:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", xmp=xmp.encode())
    return buffer.getvalue()


BAD_INGREDIENTS: dict[str, Callable[[], bytes]] = {
    "damaged": lambda: damaged_manifest_of(PNG),
    "large": with_large_thumbnail,
    "cut off": lambda: signed_by_another()[:2000],
}


@pytest.mark.parametrize("relation", ["parent", "input"])
@pytest.mark.parametrize("name", BAD_INGREDIENTS)
def test_a_bad_ingredient_is_omitted(name: str, relation: str, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Ingredient(signed_by_another(), "good"), Ingredient(BAD_INGREDIENTS[name](), "bad")
    parent, inputs = (bad, [good]) if relation == "parent" else (None, [good, bad])
    signed = CredentialSigner(OWN).sign(PNG, "image/png", CLAIMS, parent=parent, inputs=inputs)
    assert signature_problems(signed, "image/png", OWN.chain) == []
    assert [i["title"] for i in active_manifest(signed)["ingredients"]] == ["good"]
    assert len(signed) < 20_000
    assert "signed without some of its ingredients" in caplog.text


def test_many_ingredients_that_are_too_large_together_are_omitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_signer, "_MAX_MANIFEST_BYTES", 20_000)
    inputs = [
        Ingredient(CredentialSigner(OTHER).sign(image_file(40 + n, 30), "image/png", CLAIMS), str(n)) for n in range(4)
    ]
    signer = CredentialSigner(OWN)
    assert "ingredients" not in active_manifest(signer.sign(PNG, "image/png", CLAIMS, inputs=inputs))
    assert len(active_manifest(signer.sign(PNG, "image/png", CLAIMS, inputs=inputs[:2]))["ingredients"]) == 2


async def test_the_url_of_a_manifest_is_not_fetched() -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        requests.append(await reader.readline())

    async with listening(serve) as url:
        remote = remote_manifest(url)
        await asyncio.to_thread(parse_manifest, remote)
        parent, inputs = Ingredient(remote, "upstream"), [Ingredient(remote, "reference")]
        signer = CredentialSigner(OWN)
        signed = await asyncio.to_thread(signer.sign, PNG, "image/png", CLAIMS, parent=parent, inputs=inputs)
    assert requests == []
    assert signature_problems(signed, "image/png", OWN.chain) == []
    for ingredient in active_manifest(signed)["ingredients"]:
        (failure,) = ingredient["validation_results"]["activeManifest"]["failure"]
        assert failure["code"] == "manifest.inaccessible"


async def test_a_bad_ingredient_does_not_pause_time_stamps(caplog: pytest.LogCaptureFixture) -> None:
    async with hanging() as url:
        signer = CredentialSigner(OWN, time_stamp_url=url)
        with pytest.raises(Exception, match="bad: "):
            signer._sign(PNG, "image/png", CLAIMS, None, [Ingredient(signed_by_another()[:2000], "bad")])
    assert "time stamp" not in caplog.text
    assert signer._no_time_stamps_until == 0


async def test_the_decoder_process_parses_the_manifest_of_a_reference_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c2pa.py").write_text(
        "import os\nclass C2paError(Exception): ...\n"
        "class Settings:\n    from_dict = staticmethod(lambda settings: None)\n"
        "def Context(*_): ...\nSigner = C2paSignerInfo = None\nclass Builder:\n    __init__ = lambda *_: None\n"
        "    add_ingredient = lambda *_: os.abort()\n"
    )
    reference = CredentialSigner(OTHER).sign(image_file(), "image/png", CLAIMS)
    checker = ImageChecker(processes=1)
    try:
        for content in (reference, damaged_manifest_of(image_file())):
            assert await checker.check(content) == (400, 300)
        await checker.close()
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        assert await checker.check(image_file()) == (400, 300)
        with pytest.raises(BadImage, match="within the limits"):
            await checker.check(reference)
    finally:
        await checker.close()


async def test_workers_that_start_at_the_same_time_use_the_same_certificate(
    postgres: Server, database_url: str
) -> None:
    databases = [server_database(postgres, database_url) for _ in range(4)]
    for db in databases:
        await db.open()
    try:
        settings = load_settings()
        signers = await asyncio.gather(*(open_signer(settings, db) for db in databases))
        images = [signer.sign(PNG, "image/png", CLAIMS) for signer in signers if signer]
        assert len(images) == 4
        assert len({active_manifest(image)["signature_info"]["cert_serial_number"] for image in images}) == 1
        assert len(await known_chains(databases[0])) == 1
    finally:
        for db in databases:
            await db.close()


async def test_a_certificate_that_expires_soon_is_replaced_and_stays_known(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings()
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_VALIDITY", timedelta(days=300))
        patch.setattr(signing_identities, "_RENEW_BEFORE", timedelta(0))
        assert await open_signer(settings, db)
        first = await own_identity(db)
    second, third = await asyncio.gather(own_identity(db), own_identity(db))
    assert first != second == third
    assert await open_signer(settings, db)
    assert sorted(await known_chains(db)) == sorted([first.chain, second.chain])
