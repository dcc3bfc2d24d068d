"""Workflow files, their placeholders, the options of a route, and the check of a workflow on a server."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from framehouse.domain.model import Model
from framehouse.engines.comfyui import ComfyUI, workflow_check
from framehouse.engines.comfyui.job_answers import (
    JobFailed,
    JobSucceeded,
    OutputFile,
    comfyui_version,
    job_end,
    public_text,
    refusal,
)
from framehouse.engines.comfyui.workflows import fill, load_workflow, parse_workflow, remove_unused_images
from framehouse.engines.option_checks import BadOption
from framehouse.engines.registry import BadRoute, open_registry
from tests.support.comfyui_server import NODES, WORKFLOWS, Comfy, node_info

TEXT = json.loads(Path(WORKFLOWS["workflow"]).read_text())


def changed(**inputs: Any) -> bytes:
    """The workflow for text with other inputs. A key such as `n5_seed` is the input `seed` of node 5."""
    nodes = json.loads(json.dumps(TEXT))
    for key, value in inputs.items():
        number, _, name = key.partition("_")
        nodes[number[1:]]["inputs"][name] = value
    return json.dumps(nodes).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "workflow: the file is not valid JSON; write every placeholder in quotation marks"),
        (b'{"1": {"class_type": "A", "inputs": {"seed": {{seed}}}}}', "workflow: the file is not valid JSON"),
        (b'{"1": {"class_type": "A", "inputs": {"x": NaN}}}', "workflow: the file is not valid JSON"),
        (b"[" * 100_000, "workflow: the file is not valid JSON"),
        (b" " * 5_000_001, "workflow: the file has more than 5,000,000 bytes"),
        (b"[]", "workflow: the file is not a workflow in API format; in ComfyUI, export"),
        (b"{}", "workflow: the file is not a workflow in API format"),
        (b'{"nodes": [], "links": []}', "workflow: the file is a workflow in the format of the editor"),
        (b'{"1": {"inputs": {}}}', 'workflow: node "1" has no class_type or no inputs'),
        (changed(n5_seed=1), "workflow: the placeholder {{seed}} is missing"),
        (changed(n2_text="a fox"), "workflow: the placeholder {{prompt}} is missing"),
        (changed(n4_width=512), "workflow: the placeholder {{width}} is missing"),
        (changed(n5_steps="{{steps}}"), "workflow: {{steps}} is not allowed; the allowed placeholders are {{prompt}},"),
        (changed(n5_steps="{{image_1}}"), "workflow: {{image_1}} is not allowed"),
        (changed(n6_samples=["9", 0]), 'the input "samples" of node "6" is linked to node "9", which does not exist'),
    ],
)
def test_the_error_for_a_workflow_names_the_option_and_the_problem(content: bytes, message: str) -> None:
    with pytest.raises(BadOption) as error:
        parse_workflow("workflow", content)
    assert str(error.value).startswith(message) or message in str(error.value)


@pytest.mark.parametrize(
    ("option", "file", "removed", "message"),
    [
        ("edit_workflow", "edit_workflow", "{{image_1}}", "edit_workflow: the placeholder {{image_1}} is missing"),
        ("edit_workflow", "edit_workflow", "{{image_2}}", "edit_workflow: the placeholder {{image_2}} is missing"),
        ("edit_workflow", "expand_workflow", "", "edit_workflow: {{mask}} is not allowed"),
        ("expand_workflow", "expand_workflow", "{{mask}}", "expand_workflow: the placeholder {{mask}} is missing"),
        ("expand_workflow", "edit_workflow", "", "expand_workflow: {{image_2}} is not allowed"),
    ],
)
def test_each_option_has_its_own_placeholders(option: str, file: str, removed: str, message: str) -> None:
    content = Path(WORKFLOWS[file]).read_text()
    with pytest.raises(BadOption) as error:
        parse_workflow(option, (content.replace(removed, "x.png") if removed else content).encode())
    assert str(error.value).startswith(message)


def test_values_are_inserted_into_the_parsed_json() -> None:
    nodes = {
        "1": {"class_type": "A", "inputs": {"a": "{{ seed }}", "b": ["x {{prompt}} {{seed}}", {"c": "{{prompt}}"}]}}
    }
    assert fill(nodes, {"seed": 7, "prompt": '{{seed}} "\\'}) == {
        "1": {"class_type": "A", "inputs": {"a": 7, "b": ['x {{seed}} "\\ 7', {"c": '{{seed}} "\\'}]}}
    }


def test_nodes_that_need_an_unused_image_are_removed_with_their_links() -> None:
    """A chain of reference latents: the second latent is optional, but its encoder needs the image."""
    nodes: dict[str, Any] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "{{image_1}}"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "{{image_2}}"}},
        "3": {"class_type": "VAEEncode", "inputs": {"pixels": ["2", 0], "vae": ["9", 0]}},
        "4": {"class_type": "ReferenceLatent", "inputs": {"conditioning": ["8", 0], "latent": ["3", 0]}},
        "5": {"class_type": "KSampler", "inputs": {"positive": ["4", 0]}},
        "8": {"class_type": "CLIPTextEncode", "inputs": {"text": "{{prompt}}"}},
        "9": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    }
    kept = remove_unused_images(nodes, {"image_1", "prompt"}, lambda name: NODES[name][0])
    assert sorted(kept) == ["1", "4", "5", "8", "9"]
    assert kept["4"]["inputs"] == {"conditioning": ["8", 0]}
    assert nodes["4"]["inputs"]["latent"] == ["3", 0], "the workflow of the route was changed"
    required = remove_unused_images(nodes, {"image_1", "prompt"}, lambda _: ("latent", "positive", "pixels"))
    assert sorted(required) == ["1", "8", "9"]


# --- The check of a workflow ------------------------------------------------------------------------------------------


def problems_of(option: str, content: bytes | None = None, **server: Any) -> list[str]:
    workflow = load_workflow(option, WORKFLOWS[option]) if content is None else parse_workflow(option, content)
    comfy = Comfy(**server)
    known = set(NODES) - comfy.missing_nodes
    infos = {name: node_info(comfy, name) if name in known else None for name in workflow.class_types}
    return workflow_check.find_problems(workflow, infos)


@pytest.mark.parametrize("option", WORKFLOWS)
def test_a_server_with_all_nodes_and_models_has_no_problems(option: str) -> None:
    assert problems_of(option) == []


def test_the_check_names_missing_nodes_models_and_inputs() -> None:
    assert problems_of("workflow", changed(n1_ckpt_name="sd_xl_base_1.safetensors", n5_scheduler="ddim")) == [
        'node 1 (CheckpointLoaderSimple): ckpt_name "sd_xl_base_1.safetensors" is not on the server; '
        'the server has "sd_xl_base_1.0.safetensors"',
        'node 5 (KSampler): scheduler "ddim" is not on the server',
    ]
    assert problems_of("edit_workflow", missing_nodes={"TextEncodeQwenImageEditPlus"}) == [
        f"node {number} (TextEncodeQwenImageEditPlus): the server has no node of this class; install the custom node"
        for number in (8, 9)
    ]
    nodes = json.loads(changed())
    del nodes["6"]["inputs"]["vae"]
    assert problems_of("workflow", json.dumps(nodes).encode()) == ['node 6 (VAEDecode): the input "vae" is missing']


def test_the_check_finds_a_workflow_that_cannot_run_with_fewer_images() -> None:
    nodes = json.loads(Path(WORKFLOWS["edit_workflow"]).read_text())
    nodes["6"]["class_type"] = nodes["7"]["class_type"] = "LoadImage"
    nodes["10"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["6", 0], "vae": ["3", 0]}}
    assert problems_of("edit_workflow", json.dumps(nodes).encode()) == [
        "the workflow generates no image with 1 of 3 images, because no output node remains"
    ]
    nodes = json.loads(changed())
    del nodes["7"]
    assert problems_of("workflow", json.dumps(nodes).encode()) == [
        "the workflow generates no image, because no output node remains"
    ]


# --- Options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workflow": None}, "comfyui needs at least one of the options workflow, edit_workflow and expand_workflow"),
        ({"workflow": "/nowhere/a.json"}, 'workflow: the file "/nowhere/a.json" cannot be read: No such file'),
        ({"workflow": "a\0b"}, "cannot be read: the path is invalid"),
        ({"workflow": 1}, "workflow must be the path of a workflow file; it is 1"),
        ({"edit_workflow": WORKFLOWS["workflow"]}, "edit_workflow: the placeholder {{image_1}} is missing"),
        ({"servers": "http://a"}, 'servers must be a list of at least one URL, such as ["http://gpu-1:8188"]'),
        ({"servers": ["gpu-1:8188"]}, 'servers: "gpu-1:8188" must be an http or https URL'),
        ({"servers": ["http://me:secret@a"]}, "without a user name"),
        ({"servers": ["http://a", "http://a/"]}, "servers must not contain the same URL twice"),
        ({"api_key": "a\nb"}, "api_key must contain"),
        ({"headers": ["a"]}, "headers must be a table"),
        ({"headers": {"Host": "b"}}, 'headers: "Host" is not the name of a header that can be set'),
        ({"headers": {"a b": "c"}}, 'headers: "a b" is not the name'),
        ({"headers": {"X-Key": "s3cret\n"}}, 'headers: the value of "X-Key" must be printable ASCII text'),
        ({"concurrency": 0}, "concurrency must be a whole number from 1"),
        ({"max_pixels": 1}, "max_pixels must be"),
        ({"timeout_s": 0}, "timeout_s must be"),
        ({"cite": "image"}, "cite must be the text"),
        ({"convert_colours": 1}, "convert_colours must be true or false"),
    ],
)
def test_the_error_names_the_bad_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as error:
        ComfyUI(**({"servers": ["http://a"], "workflow": WORKFLOWS["workflow"]} | options))
    assert message in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_route_with_an_unknown_option_is_rejected() -> None:
    route: dict[str, object] = {
        "engine": "comfyui",
        "servers": ["http://a"],
        "workflow": WORKFLOWS["workflow"],
        "model": "x",
    }
    with pytest.raises(BadRoute, match="model"):
        open_registry([(Model("m"), [route])])


def test_the_route_of_the_docs_can_be_opened() -> None:
    folder = Path(WORKFLOWS["workflow"]).parent
    (block,) = re.findall(r"```toml\n(.*?)```", folder.with_suffix(".md").read_text(), re.DOTALL)
    models = tomllib.loads(block.replace("/etc/framehouse", str(folder)))["models"]
    registry = open_registry([(Model(name), model["routes"]) for name, model in models.items()])
    abilities = registry.routes("kling-v3-omni")[0].engine.abilities()
    assert (abilities.max_references, abilities.expansions, abilities.concurrency) == (10, True, 4)


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"outputs": {}}, JobSucceeded(())),
        ({"outputs": {"9": {"images": [{"filename": "a.png"}]}}}, JobSucceeded((OutputFile("a.png", "", "output"),))),
        (
            {
                "outputs": {
                    "8": {"images": [{"filename": "p.png", "subfolder": "", "type": "temp"}]},
                    "9": {"images": [{"filename": "a.png", "subfolder": "x", "type": "output"}], "text": ["b"]},
                    "10": {"images": [{"filename": "i.png", "type": "input"}, 3, {"filename": 4}], "gifs": [{}]},
                },
                "status": {"status_str": "success", "completed": True, "messages": []},
            },
            JobSucceeded((OutputFile("a.png", "x", "output"),)),
        ),
        ({"outputs": None, "status": None}, JobSucceeded(())),
        ({"status": {"status_str": "error"}}, JobFailed("reported an error without a reason", "error")),
        (
            {"status": {"status_str": "error", "messages": [3, ["execution_interrupted", {}]]}},
            JobFailed("interrupted the job", "interrupt"),
        ),
        (
            {
                "status": {
                    "status_str": "error",
                    "messages": [["execution_error", {"exception_type": "torch.OutOfMemoryError"}]],
                }
            },
            JobFailed("ran out of memory in a node", "memory"),
        ),
    ],
)
def test_the_history_of_a_job(entry: Any, expected: object) -> None:
    assert job_end(json.dumps({"j": entry}).encode(), "j") == expected
    assert job_end(b"{}", "j") is None


def test_a_refusal_has_a_reason_in_any_form() -> None:
    assert refusal(b'{"error": "no prompt", "node_errors": []}') == "no prompt"
    assert refusal(b"<html>") == refusal(b"{}") == refusal(b'{"error": {}, "node_errors": {"1": 2}}') == "no reason"


def test_public_texts_contain_no_folders_and_urls() -> None:
    text = "cannot open /home/alice/Comfy UI/models/a.safetensors or C:\\Users\\bob\\b.bin from https://u:p@host/x?k=1"
    public = public_text(text)
    for word in ("alice", "Users", "bob\\", "host", "u:p"):
        assert word not in public
    assert "a.safetensors" in public


@pytest.mark.parametrize(("text", "version"), [("0.9.2", (0, 9, 2)), ("v0.3.30-1-gabc", (0, 3, 30)), ("unknown", ())])
def test_the_version_of_comfyui(text: str, version: tuple[int, ...]) -> None:
    assert comfyui_version(json.dumps({"system": {"comfyui_version": text}}).encode()) == version
