"""The files of all formats, kinds of tasks and engines are read by programs that were not written for Framehouse."""

import base64
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from framehouse.adapters.content_credentials.certificates import SigningIdentity, create_identity
from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.adapters.content_credentials.manifests import GENERATION, Claims, Ingredient
from framehouse.adapters.images.image_upscaler import UPSCALER
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage, open_storage
from framehouse.domain.provenance import IPTC_SOURCE_TYPES, DigitalSourceType
from framehouse.domain.shot import preview_key
from framehouse.domain.sizes import Size
from framehouse.domain.task import OutputFormat
from framehouse.domain.task_kind import TaskKind
from framehouse.engines.image_files import read_answer
from framehouse.pipeline.finish import Finishing, finish
from framehouse.pipeline.generate import Rules
from framehouse.pipeline.masks import prepare_mask
from framehouse.pipeline.original_pixels import Original
from tests.support import openai_server, services
from tests.support.api_server import PATH, serving
from tests.support.database import Server
from tests.support.image_files import encoded, image_file
from tests.support.in_process_deployment import RULES, Deployment, MakeDeployment, build_deployment
from tests.support.mask_files import mask_file
from tests.support.outside_readers import (
    active_manifest,
    assertion,
    exiftool,
    signature_problems,
    xmllint,
    xmp_packets,
)
from tests.support.relay import relaying
from tests.support.tasks import wait_for_task

ENGINES = ("previz", "openai_images", "a relay to a Framehouse", "an upstream with signed JPEG files")
PROMPT = "a fox in the snow"
MODEL = "kling-v3-omni"
OPENAI = {"engine": "openai_images", "kind": "openai", "model": "m", "max_pixels": 256 * 256, "probe": False}
CAMERA, UPSTREAM, OWN = create_identity(), create_identity(), create_identity()
SIGNED_REFERENCE = CredentialSigner(CAMERA).sign(
    image_file(), "image/png", Claims("1", "composite", "a camera", {"task_id": ""})
)
SIGNED, UNSIGNED = (base64.b64encode(file).decode() for file in (SIGNED_REFERENCE, image_file(401)))
REQUESTS: dict[str, tuple[TaskKind, dict[str, Any]]] = {
    "single": ("omni-image", {"prompt": PROMPT, "watermark_info": {"enabled": True}}),
    "series": ("omni-image", {"prompt": PROMPT, "result_type": "series", "series_amount": 2}),
    "generations": ("generations", {"prompt": PROMPT, "image": SIGNED, "image_reference": "subject"}),
    "multi-image2image": (
        "multi-image2image",
        {
            "prompt": PROMPT,
            "subject_image_list": [{"subject_image": UNSIGNED}, {"subject_image": SIGNED}],
            "watermark_info": {"enabled": True},
        },
    ),
    "expand": ("expand", {"image": SIGNED, "left_expansion_ratio": 0.5, "watermark_info": {"enabled": True}}),
    "expand an image without a manifest": ("expand", {"image": UNSIGNED, "up_expansion_ratio": 0.25}),
    "try-on": ("try-on", {"human_image": SIGNED, "cloth_image": UNSIGNED}),
}
INPUTS = {
    "generations": ["inputTo"],
    "multi-image2image": ["inputTo"],
    "expand": ["componentOf"],
    "try-on": ["inputTo"],
}


def signing(identity: SigningIdentity, format: OutputFormat = "png", **options: Any) -> Rules:
    return replace(
        RULES, finishing=Finishing("Framehouse 1.2.3", format=format, signer=CredentialSigner(identity), **options)
    )


def signed_jpeg(png: bytes) -> bytes:
    """The image as a JPEG file, which another service has signed."""
    with Image.open(io.BytesIO(png)) as image:
        jpeg = encoded(image, "JPEG")
    claims = Claims("1", "trainedAlgorithmicMedia", "a foreign model", {"task_id": "foreign"})
    return CredentialSigner(UPSTREAM).sign(jpeg, "image/jpeg", claims)


@asynccontextmanager
async def deployed(
    engine: str, postgres: Server, template: str, db: Database, storage: Storage, folder: Path
) -> AsyncIterator[Deployment]:
    """A deployment with this engine."""
    async with AsyncExitStack() as stack:
        if engine == "a relay to a Framehouse":
            make = await stack.enter_async_context(relaying(postgres, template, db, storage, folder))
            yield await make({"engine": "previz"}, upstream_rules=signing(UPSTREAM))
            return
        route: dict[str, object] = {"engine": "previz"}
        if engine != "previz":
            convert = signed_jpeg if "JPEG" in engine else bytes
            server = await stack.enter_async_context(openai_server.serving("openai", convert=convert))
            route = OPENAI | {"base_urls": [server.url]}
        deployment = await build_deployment(db, storage, route)
        stack.push_async_callback(deployment.close)
        yield deployment


@dataclass
class File:
    """A file that a task has produced. `role` is `image`, `watermarked` or `preview`."""

    name: str
    role: str
    index: int
    task_id: str
    content: bytes
    media_type: str
    path: Path

    def xmp(self) -> dict[str, str]:
        """The attributes of the only XMP packet, by their names without the namespace."""
        (packet,) = xmp_packets(self.content)
        root = ElementTree.fromstring(packet.partition(b"?>")[2].rpartition(b"<?xpacket")[0])
        return {
            name.rpartition("}")[2]: value
            for description in root.iter()
            if description.tag.endswith("}Description")
            for name, value in description.attrib.items()
        }

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.xmp()["facts"])
        return facts


async def produce(deployment: Deployment, names: list[str], folder: Path) -> list[File]:
    """Run the requests with these names, and return all files that they produce."""
    tickets = {name: await deployment.submit(kind=REQUESTS[name][0], **REQUESTS[name][1]) for name in names}
    deployment.start_worker()
    files: list[File] = []
    for name, ticket in tickets.items():
        task = await wait_for_task(deployment, ticket.task_id)
        assert task.status == "succeed", (name, task.status_message)
        for image in task.images:
            keys = {"image": image.key, "preview": preview_key(image.key), "watermarked": image.watermark_key}
            assert bool(image.watermark_key) == ("watermark_info" in REQUESTS[name][1])
            for role, key in keys.items():
                if key:
                    content = await deployment.storage.get(key)
                    assert content
                    media_type = "image/webp" if role == "preview" else image.media_type
                    path = folder / f"{len(files)}.{media_type.rpartition('/')[2]}"
                    path.write_bytes(content)
                    files.append(File(name, role, image.index, str(task.id), content, media_type, path))
    return files


def check_claims(file: File, engine: str) -> None:
    """Check what the manifest and the XMP packet state, and that they state the same."""
    manifest = active_manifest(file.content, OWN.chain)
    facts, generation = file.facts(), assertion(manifest, GENERATION)
    actions = assertion(manifest, "c2pa.actions.v2")["actions"]
    names = [action["action"] for action in actions]
    expanded, passed_on = file.name.startswith("expand"), engine not in ("previz", "openai_images")
    expected = {
        (False, False): "algorithmicMedia",
        (False, True): "composite",
        (True, False): "trainedAlgorithmicMedia",
        (True, True): "compositeWithTrainedAlgorithmicMedia",
    }[engine != "previz", expanded]
    assert file.xmp()["DigitalSourceType"] == IPTC_SOURCE_TYPES + expected
    assert generation["digital_source_type"] == expected
    assert (engine == "previz") == ("trained" not in json.dumps(manifest).lower().replace("untrained", ""))

    assert manifest["claim_generator_info"][0]["version"] == "1.2.3"
    for stated in (generation, facts):
        assert (stated["model"], stated["index"]) == (MODEL, file.index)
        assert re.fullmatch("[0-9a-f]{64}", stated["prompt_sha256"])
        assert "prompt" not in stated
    assert generation["task_id"] == facts["task"] == file.task_id
    if file.name == "single":
        assert generation["prompt_sha256"] == sha256(PROMPT.encode()).hexdigest()
    assert PROMPT.encode() not in file.content

    if passed_on:
        assert names[0] == "c2pa.opened"
    else:
        assert (names[0], actions[0]["digitalSourceType"]) == ("c2pa.created", IPTC_SOURCE_TYPES + expected)
        assert actions[0]["softwareAgent"]["name"] == ("previz" if engine == "previz" else "m")
    assert ("resized" in str(names)) == ("resized_from" in facts)
    if engine in ("openai_images", "an upstream with signed JPEG files"):
        assert "c2pa.resized" in names
    inserted = "c2pa.placed" if file.name == "expand" else "c2pa.edited"
    assert ((inserted, "the pixels of the original image were inserted") in described(actions)) == expanded
    label = ("c2pa.edited", "a visible label was added")
    assert (label in described(actions)) == (file.role == "watermarked")
    check_ingredients(manifest, actions, INPUTS.get(file.name, []), passed_on=passed_on)


def described(actions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(action["action"], action.get("description", "")) for action in actions]


def check_ingredients(
    manifest: dict[str, Any], actions: list[dict[str, Any]], inputs: list[str], *, passed_on: bool
) -> None:
    """Check the relations of the ingredients, their validation results, and that an action refers to each of them."""
    ingredients = manifest.get("ingredients", [])
    assert [i["relationship"] for i in ingredients] == (["parentOf"] if passed_on else []) + inputs
    for ingredient in ingredients:
        results = ingredient["validation_results"]["activeManifest"]
        # both were signed by others, whose certificates this deployment does not know
        assert [failure["code"] for failure in results["failure"]] == ["signingCredential.untrusted"]
        assert "assertion.dataHash.match" in [success["code"] for success in results["success"]]
    linked = [i for action in actions for i in action.get("parameters", {}).get("ingredients", [])]
    assert len(linked) == len(ingredients)


@pytest.mark.parametrize("format", get_args(OutputFormat))
@pytest.mark.parametrize("engine", ENGINES)
async def test_outside_readers_accept_every_file(
    postgres: Server, template: str, db: Database, storage: Storage, tmp_path: Path, engine: str, format: OutputFormat
) -> None:
    async with deployed(engine, postgres, template, db, storage, tmp_path) as deployment:
        deployment.rules = signing(OWN, format)
        files = await produce(deployment, list(REQUESTS), tmp_path)
    assert len(files) == 2 * (len(REQUESTS) + 1) + 3
    for file in files:
        assert signature_problems(file.content, file.media_type, OWN.chain) == [], file
        check_claims(file, engine)
    xmllint([packet for file in files for packet in xmp_packets(file.content)], tmp_path)
    for file, read in zip(files, exiftool([file.path for file in files]), strict=True):
        assert (read["ExifTool:Validate"], read.get("ExifTool:Warning")) == ("OK", None), file.path
        assert read["XMP-iptcExt:DigitalSourceType"] == file.xmp()["DigitalSourceType"]
        assert file.media_type == "image/webp" or "c2pa.actions.v2" in str(read)


@pytest.mark.parametrize("format", get_args(OutputFormat))
async def test_a_changed_byte_is_found_by_both_readers(
    make_deployment: MakeDeployment, tmp_path: Path, format: OutputFormat
) -> None:
    deployment = await make_deployment({"engine": "previz"})
    deployment.rules = signing(OWN, format)
    for file in await produce(deployment, ["single"], tmp_path):
        start, length = manifest_bytes(file.content)
        places = {"the claim": file.content.index(file.task_id.encode(), start)}
        places["the certificate"] = file.content.index(b"Framehouse, self-signed", start)
        places["the XMP packet"] = file.content.index(b"DigitalSourceType", 0 if start > 5000 else start + length)
        outside = [at for at in range(16, len(file.content)) if not start <= at < start + length]
        places |= {f"byte {at}": at for at in (*outside[:: len(outside) // 5], outside[-1])}
        for name, at in places.items():
            changed = bytearray(file.content)
            changed[at] ^= 1
            problems = signature_problems(bytes(changed), file.media_type, OWN.chain)
            assert [problem.partition(":")[0] for problem in problems] == ["c2pa", "encypher-c2pa"], (file.role, name)


def manifest_bytes(content: bytes) -> tuple[int, int]:
    """The position and the length of the only manifest store, which is a box in the file."""
    start = content.index(b"jumb") - 4
    return start, int.from_bytes(content[start : start + 4])


@pytest.mark.parametrize("format", get_args(OutputFormat))
async def test_the_prompt_is_in_the_file_if_the_setting_says_so(
    make_deployment: MakeDeployment, tmp_path: Path, format: OutputFormat
) -> None:
    deployment = await make_deployment({"engine": "previz"})
    deployment.rules = signing(OWN, format, show_prompt=True)
    for file in await produce(deployment, ["single"], tmp_path):
        for stated in (assertion(active_manifest(file.content, OWN.chain), GENERATION), file.facts()):
            assert stated["prompt"] == PROMPT
            assert "prompt_sha256" not in stated


@pytest.mark.parametrize("format", get_args(OutputFormat))
def test_upscaling_is_an_action_and_makes_the_image_a_composite(format: OutputFormat) -> None:
    finished = finish(
        np.zeros((30, 40, 3), np.uint8),
        Size(80, 60),
        {"model": MODEL, "engine": "previz"},
        signing(OWN, format).finishing,
        source_type="algorithmicMedia",
        watermark=False,
        upscaled=np.zeros((60, 80, 3), np.uint8),
    )
    assert signature_problems(finished.content, finished.media_type, OWN.chain) == []
    manifest = active_manifest(finished.content, OWN.chain)
    actions = assertion(manifest, "c2pa.actions.v2")["actions"]
    assert [(action["action"], action.get("softwareAgent", {}).get("name")) for action in actions] == [
        ("c2pa.created", "previz"),
        ("c2pa.enhanced", UPSCALER),
        ("c2pa.resized", None),
    ]
    composite = "compositeWithTrainedAlgorithmicMedia"
    assert actions[0]["digitalSourceType"] == IPTC_SOURCE_TYPES + composite
    assert assertion(manifest, GENERATION)["digital_source_type"] == composite


@pytest.mark.parametrize("format", get_args(OutputFormat))
@pytest.mark.parametrize(
    ("generated", "finished_type"),
    [("algorithmicMedia", "composite"), ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")],
)
@pytest.mark.parametrize("signed", [True, False])
def test_an_edit_with_a_mask_is_a_composite_that_was_edited(
    format: OutputFormat, generated: DigitalSourceType, finished_type: str, signed: bool
) -> None:
    original = SIGNED_REFERENCE if signed else image_file()
    mask = prepare_mask(mask_file(400, 300, (100, 100, 200, 200)), (400, 300), Size(400, 300))
    assert mask
    finished = finish(
        np.zeros((300, 400, 3), np.uint8),
        Size(400, 300),
        {"model": MODEL, "engine": "e"},
        signing(OWN, format).finishing,
        source_type=generated,
        watermark=False,
        original=Original(original, mask=mask.content),
        inputs=[Ingredient(original, "reference 1")],
    )
    assert signature_problems(finished.content, finished.media_type, OWN.chain) == []
    manifest = active_manifest(finished.content, OWN.chain)
    actions = assertion(manifest, "c2pa.actions.v2")["actions"]
    assert actions[0]["digitalSourceType"] == IPTC_SOURCE_TYPES + finished_type
    placed = [("c2pa.placed", "the pixels of the original image were inserted")] if signed else []
    edited = ("c2pa.edited", "only the masked area of the original image was replaced")
    assert described(actions) == [("c2pa.created", ""), *placed, edited]
    check_ingredients(manifest, actions, ["componentOf"] if signed else [], passed_on=False)


def test_the_manifest_of_a_changed_upstream_file_is_recorded_as_invalid() -> None:
    changed = bytearray(signed_jpeg(image_file()))
    changed[-100] ^= 1
    finished = finish(
        read_answer(bytes(changed)),
        Size(400, 300),
        {"model": MODEL},
        signing(OWN).finishing,
        source_type="trainedAlgorithmicMedia",
        watermark=False,
    )
    assert signature_problems(finished.content, finished.media_type, OWN.chain) == []
    (parent,) = active_manifest(finished.content, OWN.chain)["ingredients"]
    failures = [failure["code"] for failure in parent["validation_results"]["activeManifest"]["failure"]]
    assert sorted(failures) == ["assertion.dataHash.mismatch", "signingCredential.untrusted"]


async def test_presigned_delivery_leaves_the_files_unchanged(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with services.s3() as bucket:
        for name, value in bucket.variables.items():
            monkeypatch.setenv(name, value)
        deployment = await build_deployment(db, open_storage(bucket.url("prefix")), {"engine": "previz"})
        deployment.rules = signing(OWN)
        try:
            async with serving(deployment, redirect_images=True) as api:
                files = await produce(deployment, ["single"], tmp_path)
                task = (await api.alice.get(f"{PATH}/{files[0].task_id}?include=previews")).json()["data"]
                (image,) = task["task_result"]["images"]
                for file, field in zip(files, ("url", "preview_url", "watermark_url"), strict=True):
                    served = await api.anonymous.get(image[field], follow_redirects=True)
                    if field != "preview_url":
                        assert served.history[0].headers["location"].startswith(bucket.variables["AWS_ENDPOINT_URL"])
                    assert served.content == file.content
                    assert signature_problems(served.content, file.media_type, OWN.chain) == []
        finally:
            await deployment.close()
