"""POST /v1/verify: whether an image was made here, without revealing the images of other accounts."""

import asyncio
import io
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.adapters.images.encode import encode
from framehouse.adapters.images.image_metadata import describe
from framehouse.adapters.postgres.signing_identities import own_identity, remember_chain
from framehouse.domain.verification import MAX_VERIFIED_BYTES
from framehouse.entrypoints.api import image_verifier
from framehouse.pipeline.finish import Finishing
from tests.support.api_server import Api, serving
from tests.support.eventually import eventually
from tests.support.image_files import image_file
from tests.support.in_process_deployment import RULES, Deployment, MakeDeployment
from tests.support.signed_images import identity, signed, unsigned, with_text

PATH = "/kling/v1/verify"
PRIVATE = {"task_id", "model", "engine", "created_at", "image_index", "account", "distance", "made_from"}


@pytest.fixture(autouse=True)
def _no_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_verifier, "_PER_SECOND", 0)


@pytest.fixture
async def api(make_direct_deployment: MakeDeployment) -> AsyncIterator[Api]:
    """An API whose worker signs images with the certificate of the deployment."""
    deployment: Deployment = await make_direct_deployment({"engine": "previz"})
    own = await own_identity(deployment.db)
    await remember_chain(deployment.db, own)
    finishing = Finishing("Framehouse 0.1.0", signer=CredentialSigner(own))
    deployment.rules = RULES.__class__(finishing, RULES.retention, allow_private_addresses=False)
    deployment.start_worker()
    async with serving(deployment) as api:
        yield api


async def generated(api: Api) -> tuple[str, bytes]:
    """The id of a task of alice, and its image."""
    task = await api.wait_for_task((await api.create("a lighthouse at sunset"))["task_id"])
    response = await api.anonymous.get(task["task_result"]["images"][0]["url"])
    return task["task_id"], response.content


async def verified(client: httpx.AsyncClient, content: bytes) -> dict[str, Any]:
    response = await client.post(PATH, files={"image": ("fox.png", content)})
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


def without_metadata(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        copy = image.convert("RGB")
        copy.resize((copy.width // 2, copy.height // 2)).save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


async def test_the_owner_learns_everything(api: Api) -> None:
    task_id, content = await generated(api)
    data = await verified(api.alice, content)
    assert data["verdict"] == "made_here"
    assert data["made_here"] is True
    assert data["altered"] is False
    assert (data["evidence"], data["task_id"], data["image_index"]) == ("signature", task_id, 0)
    assert (data["model"], data["engine"]) == ("kling-v3-omni", "previz")
    assert data["source_type"] == "algorithmicMedia"
    assert data["signer"]["trusted"] is True
    assert "account" not in data


@pytest.mark.parametrize("kind", ["original", "altered", "metadata", "similar"])
async def test_another_account_learns_only_that_it_was_made_here(api: Api, kind: str) -> None:
    task_id, content = await generated(api)
    match kind:
        case "altered":
            content = with_text(content)
        case "metadata":
            content = unsigned_copy(content, task_id)
        case "similar":
            content = without_metadata(content)
    own, foreign = await verified(api.alice, content), await verified(api.bob, content)
    verdict = {"original": "made_here"}.get(kind, kind)
    assert own["verdict"] == foreign["verdict"] == verdict
    assert own["task_id"] == task_id
    assert not PRIVATE & set(foreign)
    assert task_id not in str(foreign)
    assert own["made_here"] is foreign["made_here"] is (kind != "similar")


def unsigned_copy(content: bytes, task_id: str) -> bytes:
    """The image with the metadata that is not signed."""
    facts = {"model": "kling-v3-omni", "engine": "previz", "task": task_id, "index": 0}
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB"))
    return encode(pixels, "png", describe(facts, software="x", source_type="algorithmicMedia")).content


async def test_metadata_on_another_image_is_no_evidence(api: Api) -> None:
    task_id, _ = await generated(api)
    copied = unsigned(3, facts={"engine": "previz", "task": task_id, "index": 0})
    data = await verified(api.bob, copied)
    assert (data["verdict"], data["made_here"], data["copied_metadata"]) == ("unknown", False, True)
    assert not PRIVATE & set(data)


async def test_a_signature_of_another_deployment_is_no_evidence(api: Api) -> None:
    data = await verified(api.alice, signed(unsigned(5), identity("Framehouse", "Framehouse")))
    assert (data["verdict"], data["made_here"]) == ("unknown", False)
    assert data["signer"] == {"name": "Framehouse", "organization": "Framehouse", "trusted": False}
    assert "task_id" not in data


async def test_json_with_base64_a_data_url_or_a_url(api: Api) -> None:
    _, content = await generated(api)
    text = b64encode(content).decode()
    for image in (text, f"data:image/png;base64,{text}"):
        response = await api.alice.post(PATH, json={"image": image})
        assert response.json()["data"]["verdict"] == "made_here", response.text
    small = b64encode(image_file(40, 40)).decode()
    assert (await api.alice.post(PATH, json={"image": small})).json()["data"]["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "image is required"),
        ({"image": 5}, "image is required"),
        ([], "image is required"),
        ({"image": "!!"}, "image is neither an http(s) URL nor valid base64"),
        ({"image": b64encode(b"GIF89a" + bytes(500)).decode()}, "image is a GIF image"),
        ({"image": "http://127.0.0.1/a.png"}, "image points to a private or special address"),
        ({"image": "http://169.254.169.254/latest"}, "image points to a private or special address"),
        ({"image": "http://localhost.invalid/a"}, "image points to a host name that cannot be resolved"),
        ({"image": "A" * 14_000_000}, "image has more than 10,000,000 bytes; send larger files as multipart/form-data"),
    ],
)
async def test_invalid_images_are_refused(api: Api, body: object, problem: str) -> None:
    response = await api.alice.post(PATH, json=body)
    assert response.status_code == 400, response.text
    assert problem in response.json()["message"]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "problem"),
    [
        ("multipart/form-data", b"x", 400, "no valid boundary"),
        ("multipart/form-data; boundary=b", b"nothing", 400, "not a valid form"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "no file with the name image"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
            400,
            "no file with the name image",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx',
            400,
            "ends too early",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: y\r\n" * 1000, 400, "not a valid form"),
        ("multipart/form-data; boundary=b", bytes(MAX_VERIFIED_BYTES + 70_000), 413, "too large"),
        ("image/png", b"x", 415, "Content-Type"),
    ],
    ids=["boundary", "garbage", "empty", "other name", "cut", "headers", "large", "type"],
)
async def test_invalid_forms_are_refused(api: Api, content_type: str, body: bytes, status: int, problem: str) -> None:
    response = await api.alice.post(PATH, content=body, headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    assert problem in response.json()["message"]


async def test_a_key_is_required(api: Api) -> None:
    assert (await api.anonymous.post(PATH, json={"image": "x"})).json()["code"] == 1001


async def test_an_admin_key_is_refused(api: Api) -> None:
    headers = {"Authorization": "Bearer fha_0123456789"}
    response = await api.anonymous.post(PATH, json={"image": "x"}, headers=headers)
    assert response.status_code == 401


async def test_a_verification_is_free(api: Api) -> None:
    _, content = await generated(api)
    before = await api.deployment.account()
    await verified(api.alice, content)
    assert await api.deployment.account() == before


async def test_the_number_of_verifications_per_second_is_limited_per_account(
    make_direct_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_verifier, "_PER_SECOND", 0.001)
    deployment = await make_direct_deployment()
    async with serving(deployment) as api:
        assert (await api.alice.post(PATH, json={"image": "!!"})).json()["code"] == 1201
        limited = await api.alice.post(PATH, json={"image": "!!"})
        assert (limited.status_code, limited.json()["code"]) == (429, 1302)
        assert int(limited.headers["Retry-After"]) > 0
        assert (await api.bob.post(PATH, json={"image": "!!"})).json()["code"] == 1201


async def test_an_account_does_not_delay_the_verifications_of_another_account(api: Api) -> None:
    """While alice verifies many large images, bob waits for at most one of them."""
    large = image_file(4000, 4000)
    finished: list[str] = []

    async def send(name: str, client: httpx.AsyncClient) -> None:
        await verified(client, large)
        finished.append(name)

    first = [asyncio.create_task(send("alice", api.alice)) for _ in range(8)]

    async def any_finished() -> bool:
        return bool(finished)

    await eventually(any_finished)
    await send("bob", api.bob)
    await asyncio.gather(*first)
    assert finished.index("bob") <= 5, finished
