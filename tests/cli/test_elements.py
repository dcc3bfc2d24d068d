"""The command `framehouse element`, run as a real process."""

from pathlib import Path

import pytest

from tests.support.api_server import ELEMENTS
from tests.support.command_line import PATH, client, run, run_json, serve
from tests.support.data_folder import prepare
from tests.support.image_files import image_file


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    files = [tmp_path / name for name in ("front.png", "side.jpg")]
    files[0].write_bytes(image_file())
    files[1].write_bytes(image_file(format="JPEG"))
    return files


def test_an_element_can_be_created_listed_used_and_deleted_without_a_server(tmp_path: Path, images: list[Path]) -> None:
    prepare(tmp_path / "data")
    data = ("--data-dir", tmp_path / "data")
    files = ("--frontal", images[0], "--refer", images[1], "--refer", images[0])
    created = run_json("element", "create", "Red bag", *files, "--description", "A bag", "--tag", "o_104", *data)
    id = created["element_id"]
    assert created == {"element_id": id, "name": "Red bag", "description": "A bag", "tags": ["o_104"], "pictures": 3}
    (listed,) = run_json("element", "list", *data)
    assert (listed["element_id"], listed["status"]) == (id, "succeed")
    prompt = ("<<<element_1>>> next to <<<element_2>>>", "--element", str(id), "--element", "101")
    assert len(run_json("generate", *prompt, "--out", tmp_path / "out", *data)["images"]) == 1
    assert "Deleted" in run("element", "delete", str(id), *data).stdout
    assert "No elements yet" in run("element", "list", *data).stdout
    assert "does not exist" in run("generate", *prompt, "--out", tmp_path / "out", *data, code=1).stderr


def test_changes_of_elements_apply_to_a_running_server(tmp_path: Path, images: list[Path]) -> None:
    data = ("--data-dir", tmp_path / "data")
    with serve(tmp_path / "data") as server, client(server.url, server.key) as http:
        output = run("element", "create", "Bag", "--frontal", images[0], "--refer", images[1], *data).stdout
        (task,) = http.get(ELEMENTS).json()["data"]
        (element,) = task["task_result"]["elements"]
        assert f"--element {element['element_id']}" in output
        assert element["element_description"] == "Bag"
        body = {"model_name": "kling-v3-omni", "prompt": "<<<element_1>>>", "element_list": [element]}
        assert http.post(PATH, json=body).json()["code"] == 0
        run("element", "delete", str(element["element_id"]), *data)
        assert http.get(ELEMENTS).json()["data"] == []


@pytest.mark.xdist_group("shared_data")
def test_presets_are_listed(shared_data: Path) -> None:
    assert "Robot" in run("element", "list", "--presets", "--data-dir", shared_data).stdout
    assert len(run_json("element", "list", "--presets", "--data-dir", shared_data)) == 8


@pytest.mark.xdist_group("shared_data")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["element", "create", "x", "--frontal", "nothing.png", "--refer", "a.png"], 1, "Cannot read the image"),
        (["element", "create", "x", "--frontal", "http://127.0.0.1:1/a.png"], 2, "--refer"),
        (["element", "create", "x" * 21, "--frontal", "http://a/", "--refer", "http://a/"], 1, "at most 20"),
        (["element", "create", "x", "--frontal", "http://a/", "--refer", "http://a/", "--tag", "o_1"], 1, "o_101"),
        (
            ["element", "create", "x", "--frontal", "http://127.0.0.1:1/a.png", "--refer", "http://127.0.0.1:1/"],
            1,
            "The element could not be created: element_image_list.frontal_image points to a private",
        ),
        (["element", "list", "--account", "nobody"], 1, "There is no account"),
        (["element", "delete", "bag"], 2, "framehouse element list"),
        (["element", "delete", "5"], 1, "element_id 5 does not exist. See: framehouse element list"),
        (["element", "delete", "101"], 1, "is a preset"),
    ],
)
def test_an_error_message_gives_advice(shared_data: Path, words: list[str], code: int, message: str) -> None:
    assert message in run(*words, "--data-dir", shared_data, code=code).stderr
