"""The command `framehouse engine test`."""

import json
from pathlib import Path

import pytest
from PIL import Image

from framehouse.cli.engine_trials import Trial, TrialResult, advice, plan_trials
from framehouse.domain.sizes import Size
from framehouse.engines.interface import Abilities
from tests.support.command_line import run

_CONFIG = """
[models."kling-v3-omni"]
routes = [{ engine = "previz" }]
[models."grey"]
routes = [{ engine = "framehouse.testing.misbehaving:Misbehaving", name = "grey" }]
[models."failing"]
routes = [{ engine = "tests.support.quoting_engine:QuotingEngine", name = "failing" }]
[[models."paid".routes]]
engine = "kling"
name = "paid"
base_url = "http://127.0.0.1:9"
accounts = [{ name = "a", api_key = "k" }]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "framehouse.toml").write_text(_CONFIG)
    return tmp_path


def _test(folder: Path, *words: str, code: int = 0) -> str:
    out, config = folder / "out", folder / "framehouse.toml"
    return run("engine", "test", *words, "--out", out, "--config", config, "--data-dir", folder, code=code).stdout


def test_an_engine_generates_every_kind_and_the_report_shows_the_images(folder: Path) -> None:
    report = json.loads(_test(folder, "previz", "--images", "3", "--json"))
    kinds = {kind["name"]: (len(kind["sizes"]), kind["error"], kind["skipped"]) for kind in report["kinds"]}
    assert kinds == {
        "text": (1, "", ""),
        "two references": (1, "", ""),
        "series": (3, "", ""),
        "2k": (1, "", ""),
        "expansion": (1, "", ""),
        "mask": (1, "", ""),
        "3 images": (3, "", ""),
    }
    assert all(kind["seconds"] > 0 for kind in report["kinds"])
    with Image.open(folder / "out" / "2k-1.png") as large:
        assert large.size == (2496, 1664)
    with Image.open(folder / "out" / "contact-sheet.png") as sheet:
        assert sheet.width == 3 * 640 + 4 * 16
    assert "| series | done |" in (folder / "out" / "report.md").read_text()
    assert len(report["files"]) == len(list((folder / "out").glob("*-[0-9].png"))) == 11


def test_a_second_test_replaces_the_files_of_the_first(folder: Path) -> None:
    _test(folder, "previz", "--images", "3")
    for name in ("mine.png", "IMG-2024.png"):
        (folder / "out" / name).touch()
    text = _test(folder, "previz")
    assert "No change is needed." in text
    assert "contact-sheet.png" in text
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"mine.png", "IMG-2024.png"} <= names
    assert not any("images" in name for name in names)


def test_files_in_another_folder_are_kept(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "photo-1.png").write_bytes(b"mine")
    _test(folder, "previz")
    assert (folder / "out" / "photo-1.png").read_bytes() == b"mine"


def test_images_of_a_single_colour_are_reported(folder: Path) -> None:
    text = _test(folder, "grey")
    assert "- text, two references, series, 2k: an image has a single colour." in text
    assert "not possible: the engine does not expand images" in text


def test_an_engine_that_fails_is_reported_and_the_exit_code_is_1(folder: Path) -> None:
    text = _test(folder, "failing", code=1)
    assert "internal error: KeyError" in text
    assert "contact-sheet.png" not in text


def test_images_that_may_cost_money_need_a_confirmation(folder: Path) -> None:
    out, config = folder / "out", folder / "framehouse.toml"
    done = run("engine", "test", "paid", "--out", out, "--config", config, "--data-dir", folder, code=1)
    assert "may charge for 7 images. To generate them, add --yes." in done.stderr
    assert not out.exists()


def test_the_error_lists_the_configured_routes(folder: Path) -> None:
    out, config = folder / "out", folder / "framehouse.toml"
    done = run("engine", "test", "other", "--out", out, "--config", config, "--data-dir", folder, code=2)
    assert "the configured routes are: previz (of kling-v3-omni), grey (of grey)" in done.stderr


def test_the_trials_depend_on_the_abilities_of_the_engine() -> None:
    text_only = plan_trials(Abilities(max_references=0), model="m", loads=True)
    assert [trial.name for trial in text_only if trial.batch] == [
        "first image, with loading the model", "text", "series", "2k",
    ]  # fmt: skip
    needs = plan_trials(
        Abilities(max_references=3, needs_reference=True, expansions=True, masks=True), model="m", loads=False
    )
    assert [len(trial.batch.references) for trial in needs if trial.batch] == [1, 2, 1, 1, 1, 1]


def test_the_advice_names_all_trials_with_the_same_problem() -> None:
    trials = plan_trials(Abilities(max_references=0), model="m", loads=False, images=4)
    small, wanted = Size(624, 416), Size(1248, 832)
    results = [
        TrialResult("text", 1.0, 4, (small,), (40.0,)),
        TrialResult("two references", skipped="the engine accepts no references"),
        TrialResult("series", 3.0, 4, (wanted,) * 3, (40.0,) * 3),
        TrialResult("2k", 1.0, 4, (Size(2496, 1664),), (40.0,)),
        TrialResult("expansion", skipped="the engine does not expand images"),
        TrialResult("mask", skipped="the engine does not use masks"),
        TrialResult("4 images", 8.0, 4, (small,) * 4, (40.0,) * 4),
    ]
    assert advice(trials, results, max_batch=4) == [
        "text, 4 images: the engine generates 624x416 instead of 1248x832, and Framehouse enlarges the image.",
        "4 images: each image takes longer than an image alone. Try a smaller batch.",
    ]
    assert advice([Trial("text", None)], [TrialResult("text", 1.0, 0, (wanted,), (40.0,))], max_batch=1) == [
        "The engine reports no progress, so clients see 0 % until an image is finished."
    ]
