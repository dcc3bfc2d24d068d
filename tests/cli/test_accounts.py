"""The commands `framehouse account`, `key`, `task` and `doctor`, run as real processes."""

import re
from pathlib import Path
from typing import Any

import jwt
import pytest

from framehouse import __version__
from tests.support.command_line import PATH, client, run, run_json, serve
from tests.support.data_folder import prepare
from tests.support.in_process_deployment import MISBEHAVING

BODY = {"model_name": "kling-v3-omni", "prompt": "a fox"}


def test_changes_of_accounts_and_keys_apply_to_a_running_server(tmp_path: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    with serve(tmp_path / "data") as server:
        account = run_json("account", "create", "acme", "--concurrency", "2", "--units", "20", *data)
        assert account["callback_secret"].startswith("whsec_")
        assert (account["concurrency"], account["units_limit"]) == (2, 20)
        key = run_json("key", "create", "acme", *data)["key"]
        with client(server.url, key) as http:
            assert http.post(PATH, json=BODY | {"n": 3}).json()["code"] == 1303
            run("account", "set", "acme", "--concurrency", "9", "--weight", "2.5", *data)
            assert http.post(PATH, json=BODY | {"n": 3}).json()["code"] == 1102
            run("account", "set", "acme", "--units", "none", *data)
            assert http.post(PATH, json=BODY | {"n": 3}).json()["code"] == 0
            run("account", "set", "acme", "--disable", *data)
            assert http.get(PATH).json()["code"] == 1100
            run("account", "set", "acme", "--enable", *data)
            assert run_json("key", "revoke", "acme", key[:11], *data)["revoked"] == [key[:11]]
            assert http.get(PATH).json()["code"] == 1002
        pair = run_json("key", "create", "acme", "--jwt", *data)
        token = jwt.encode({"iss": pair["access_key"], "exp": 2**33}, pair["secret_key"], algorithm="HS256")
        with client(server.url, token) as http:
            assert http.get(PATH).json()["code"] == 0
        listed = run_json("key", "list", "acme", *data)
        assert [(k["jwt"], bool(k["revoked_at"])) for k in listed] == [(False, True), (True, False)]
        shown = run_json("account", "show", "acme", *data)
        assert {"images_in_flight", "units_used", "callback_secret"} <= set(shown)
        assert shown["weight"] == 2.5
        assert [a["name"] for a in run_json("account", "list", *data)] == ["acme", "default"]
        for words in (["account", "list"], ["account", "show", "acme"], ["key", "list", "acme"], ["task", "list"]):
            assert run(*words, *data).stdout


@pytest.mark.xdist_group("shared_data")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["account", "show", "nobody"], 1, "framehouse account list"),
        (["account", "create", "default"], 1, "already exists"),
        (["account", "set", "default"], 2, "nothing to change"),
        (["account", "set", "default", "--units", "many"], 2, "whole number or none"),
        (["account", "set", "default", "--weight", "0"], 2, "0.01<=x<=100"),
        (["account", "set", "default", "--weight", "nan"], 2, "nan is not a number"),
        (["key", "create", "nobody"], 1, "There is no account"),
        (["key", "create", "default", "--model", "dall-e"], 2, "not configured"),
        (["key", "revoke", "default", "fh_nothing"], 1, "no active key"),
        (["task", "show", "nothing"], 1, "has no task nothing"),
        (["task", "cancel", "nothing", "--account", "nobody"], 1, "There is no account"),
    ],
)
def test_an_error_message_gives_advice(shared_data: Path, words: list[str], code: int, message: str) -> None:
    assert message in run(*words, "--data-dir", shared_data, code=code).stderr


def test_tasks_are_listed_shown_and_canceled(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    route = f'{{ engine = "{MISBEHAVING}", seconds = 60 }}'
    (tmp_path / "data" / "framehouse.toml").write_text(f'[models."kling-v3-omni"]\nroutes = [{route}]\n')
    data = ("--data-dir", tmp_path / "data")
    with serve(tmp_path / "data") as server, client(server.url, server.key) as http:
        http.post(PATH, json=BODY | {"external_task_id": "mine"})
        (listed,) = run_json("task", "list", *data)
        assert (listed["prompt"], listed["external_task_id"]) == ("a fox", "mine")
        assert run_json("task", "cancel", "mine", *data)["status"] == "failed"
        assert "already ended" in run("task", "cancel", listed["task_id"], *data, code=1).stderr
        assert "Canceled" in run("task", "show", "mine", *data).stdout


def test_usage_shows_what_images_have_cost_the_operator(tmp_path: Path) -> None:
    config = tmp_path / "framehouse.toml"
    config.write_text(
        '[models."kling-v3-omni"]\nroutes = [{ engine = "previz", price = 0.125, currency = "EUR", daily_budget = 9 }]'
    )
    data = ("--data-dir", tmp_path, "--config", config)
    run("generate", "a fox", "-n", "2", "--out", tmp_path / "out", *data)
    assert run("usage", *data).stdout.endswith(
        "in 1 charge\ncost: 0.25 EUR for 2 images of kling-v3-omni, route previz\n"
    )
    costs = run_json("usage", "--account", "default", *data)["costs"]
    assert [(cost["currency"], cost["images"], cost["route"]) for cost in costs] == [("EUR", 2, "previz")]
    assert run_json("usage", "--to", "2026-01-01", *data)["costs"] == []


def test_usage_shows_the_charges_as_text_csv_and_json(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    data = ("--data-dir", tmp_path / "data")
    assert run("usage", *data).stdout == "No charges.\n0 units in 0 charges\n"
    run("generate", "a fox", "-n", "2", "--out", tmp_path / "out", *data)
    usage = run_json("usage", "--account", "default", *data)
    (charge,) = usage["charges"]
    assert (usage["units"], charge["amount"], charge["kind"], charge["key"]) == (16, 16, "omni-image", "")
    assert "16 units in 1 charge\n" in run("usage", *data).stdout
    header, row = run("usage", "--csv", *data).stdout.splitlines()
    assert header == "charged_at,account,key,task_id,kind,model,resolution,amount,units_after"
    assert row.split(",")[3:] == [charge["task_id"], "omni-image", "kling-v3-omni", "1k", "16", "16"]
    for words in (["--from", "2100-01-01"], ["--to", "2000-01-01"], ["--key", "fh_other"]):
        assert run_json("usage", *words, *data)["charges"] == []
    assert "There is no account" in run("usage", "--account", "nobody", *data, code=1).stderr
    assert "must not be later" in run("usage", "--from", "2026-02-01", "--to", "2026-01-01", *data, code=2).stderr
    assert "cannot be combined" in run("usage", "--csv", "--json", *data, code=2).stdout
    assert "does not match" in run("usage", "--from", "soon", *data, code=2).stderr
    for option in ("--account", "--key"):
        assert f"the value of {option} is empty" in run("usage", option, "", *data, code=2).stderr


def run_doctor(*words: str | Path, code: int = 0, **extra: str) -> dict[int, Any]:
    """Run `framehouse doctor` and return its findings by number."""
    findings = run_json("doctor", *words, code=code, **extra)
    assert all(finding["do"] for finding in findings if finding["level"] != "ok")
    return {finding["number"]: finding for finding in findings}


def test_doctor_reports_problems_and_advice(tmp_path: Path) -> None:
    findings = run_doctor("--data-dir", tmp_path / "data", FRAMEHOUSE_PROT="1")
    assert [findings[n]["level"] for n in (1, 2, 4, 5, 6, 7, 9)] == ["ok"] * 7
    assert findings[8]["level"] == "advice"
    assert (findings[17]["level"], "test image" in findings[17]["found"]) == ("ok", True)
    assert "FRAMEHOUSE_PROT" in findings[3]["found"]
    assert "embedded" in findings[7]["found"]
    bad = tmp_path / "bad.toml"
    bad.write_text('prot = 1\n[models.x]\nroutes = [{ engine = "none" }]\n')
    assert "prot: no such setting" in run_doctor("--config", bad, "--data-dir", tmp_path / "data", code=1)[2]["found"]
    bad.write_text('[models.x]\nroutes = [{ engine = "none" }]\n')
    assert (
        "the installed engines are comfyui, diffusers, fal, gemini, kling, openai_images, previz"
        in run_doctor("--config", bad, "--data-dir", tmp_path / "data", code=1)[5]["found"]
    )
    unreachable = "postgresql://nobody@127.0.0.1:1/x"
    findings = run_doctor("--data-dir", tmp_path / "data", code=1, FRAMEHOUSE_DATABASE_URL=unreachable)
    assert findings[7]["level"] == "problem"
    assert re.search(r"-> ", run("doctor", "--data-dir", tmp_path / "data").stdout)


def test_doctor_checks_the_upscaler(tmp_path: Path) -> None:
    (tmp_path / "ncnn.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    data: tuple[str | Path, ...] = ("--data-dir", tmp_path / "data")
    finding = run_doctor(*data, code=1, PYTHONPATH=str(tmp_path))[17]
    assert finding["level"] == "problem"
    assert "the process exited with code 1" in finding["found"]
    assert 'pip install "framehouse[upscale]"' in finding["do"]
    assert "lanczos" in run_doctor(*data, PYTHONPATH=str(tmp_path), FRAMEHOUSE_UPSCALING="lanczos")[17]["found"]


def test_the_command_line_prints_its_help_and_version() -> None:
    assert __version__ in run("--version").stdout
    for words in ([], ["generate"], ["serve"], ["account"], ["key", "create"], ["task"], ["doctor"]):
        assert "Usage: framehouse" in run(*words, "--help").stdout.replace("python -m framehouse", "framehouse")


def test_failed_tasks_are_listed_and_retried(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    (tmp_path / "data" / "framehouse.toml").write_text(
        f'[models."kling-v3-omni"]\nroutes = [{{ engine = "{MISBEHAVING}" }}]\n'
    )
    data = ("--data-dir", tmp_path / "data")
    assert run("task", "failed", *data).stdout == "No failed tasks.\n"
    with serve(tmp_path / "data") as server, client(server.url, server.key) as http:
        for prompt in ("break", "decline"):
            id = http.post(PATH, json=BODY | {"prompt": prompt}).json()["data"]["task_id"]
            assert http.get(f"{PATH}/{id}?wait=60").json()["data"]["task_status"] == "failed"
    failed = run_json("task", "failed", *data)
    assert {task["account"] for task in failed} == {"default"}
    assert "the engine returned invalid data" in run("task", "failed", *data).stdout
    assert [run_json("task", "failed", *words, *data) for words in (("--reason", "refuses"), ("--model", "x"))] == [
        [task for task in failed if "refuses" in task["status_message"]], []
    ]  # fmt: skip
    would = run_json("task", "retry", "--all", "--dry-run", *data)
    assert set(would["retried"]) == {task["task_id"] for task in failed}
    assert run("task", "retry", failed[0]["task_id"], *data).stdout == "Retried 1 task.\n"
    assert run_json("task", "retry", "--all", *data)["retried"] == [failed[1]["task_id"]]
    errors = run("task", "retry", failed[0]["task_id"], "nonsense", *data, code=1).stderr
    assert "there is no failed task with this id" in " ".join(errors.split())
    assert "it is not a task id" in " ".join(errors.split())
    for words in ((), ("--all", failed[0]["task_id"])):
        assert "either task ids or --all" in run("task", "retry", *words, *data, code=2).stderr
