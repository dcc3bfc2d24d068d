"""The commands `framehouse route`, `audit`, `admin-key` and `account delete`, run as real processes."""

from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import PATH, client, run, run_json, serve

MODEL = "kling-v3-omni"
BODY = {"model_name": MODEL, "prompt": "a fox"}


def test_a_paused_route_generates_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    with serve(tmp_path / "data") as server, client(server.url, server.key) as http:
        assert run_json("route", "pause", MODEL, "previz", *data) == [
            {"model": MODEL, "route": "previz", "state": "paused", "changed": True}
        ]
        task = http.post(PATH, json=BODY).json()["data"]["task_id"]
        assert http.get(f"{PATH}/{task}?wait=2").json()["data"]["task_status"] == "submitted"
        assert httpx.get(f"{server.url}/readyz").json()["engines"][MODEL] == {"previz": "paused"}
        metric = f'framehouse_route_controlled{{model="{MODEL}",route="previz",state="paused"}} 1.0'
        assert metric in httpx.get(f"{server.url}/metrics").text
        (listed,) = [route for route in run_json("route", "list", *data) if route["model"] == MODEL]
        assert (listed["state"], listed["waiting"], listed["requests_per_minute"]) == ("paused", 1, None)
        assert "paused" in run("route", "list", *data).stdout
        (finding,) = [f for f in run_json("doctor", *data, code=1) if f["number"] == 16]
        assert finding["do"] == f"To use the route again: framehouse route resume {MODEL} previz"
        assert run("route", "pause", MODEL, *data).stdout == f"Already paused: route previz of {MODEL}.\n"
        refused = run("generate", "a fox", "--out", tmp_path / "out", *data, code=1).stderr
        assert f"The route previz of {MODEL} is paused. To resume the route: framehouse route resume" in refused
        assert run("route", "resume", MODEL, *data).stdout == f"Resumed: route previz of {MODEL}.\n"
        assert http.get(f"{PATH}/{task}?wait=30").json()["data"]["task_status"] == "succeed"
        changes = run_json("audit", "--action", "route", *data)
        assert [change["action"] for change in changes] == ["route.resume", "route.pause"]
        assert "@" in changes[0]["actor"]
        assert f"route.pause  {MODEL}/previz" in run("audit", *data).stdout


def test_an_admin_key_works_until_it_is_revoked_and_a_deleted_account_is_gone(tmp_path: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    assert "No keys yet" in run("admin-key", "list", *data).stdout
    with serve(tmp_path / "data") as server:
        key = run_json("admin-key", "create", "deployment scripts", *data)["key"]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"{server.url}/admin/v1", headers=headers, timeout=60) as admin:
            assert admin.post("/accounts", json={"name": "acme"}).status_code == 200
            account_key = admin.post("/keys", json={"account": "acme"}).json()["data"]["key"]
            with client(server.url, account_key) as http:
                task = http.post(PATH, json=BODY).json()["data"]["task_id"]
                assert http.get(f"{PATH}/{task}?wait=30").json()["data"]["task_status"] == "succeed"
                assert run_json("account", "delete", "acme", "--yes", *data) == {"name": "acme", "deleted": True}
                assert http.get(PATH).json()["code"] == 1002
            assert [account["name"] for account in admin.get("/accounts").json()["data"]] == ["default"]
            assert "deployment scripts" in run("admin-key", "list", *data).stdout
            assert run_json("admin-key", "revoke", key[:12], *data) == {"revoked": key[:12]}
            assert admin.get("/accounts").json()["code"] == 1002
    actions = [change["action"] for change in run_json("audit", *data)]
    assert actions == [
        "admin_key.revoke", "account.delete", "key.create", "account.create", "admin_key.create", "key.create",
        "account.create",
    ]  # fmt: skip


@pytest.mark.xdist_group("shared_data")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["route", "pause", "m"], 1, 'There is no model "m"; configured models: kling-v3-omni'),
        (["route", "drain", MODEL, "x"], 1, f'The model {MODEL} has no route "x"; configured routes: previz'),
        (["account", "delete", "nobody", "--yes"], 1, 'There is no account "nobody"'),
        (["account", "delete", "default"], 2, "without confirmation, specify --yes"),
        (["account", "delete", "default", "--json"], 2, "without confirmation, specify --yes"),
        (["admin-key", "create", " "], 2, "must not be blank"),
        (["admin-key", "revoke", "fha_"], 2, "at least 6 characters"),
        (["admin-key", "revoke", "fha_nobody"], 1, "No active key, or more than one active key"),
        (["audit", "--from", "yesterday"], 2, "does not match the formats"),
    ],
)
def test_a_wrong_word_is_explained(shared_data: Path, words: Sequence[str], code: int, message: str) -> None:
    done = run(*words, "--data-dir", shared_data, code=code)
    assert message in done.stderr + done.stdout
