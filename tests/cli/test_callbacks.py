"""Callbacks of the whole server: random kills, and the commands that list, resend and receive callbacks."""

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import process_tree
from tests.support.command_line import FRAMEHOUSE, PATH, Server, client, environment, run, run_json, serve
from tests.support.in_process_deployment import MISBEHAVING
from tests.support.receivers import ReceivedCallback, Receiver, receiving

PRIVATE = {"FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES": "1"}
LONG = "CHAOS_TASKS" in os.environ
TASKS, KILLS = (300, 5) if LONG else (60, 3)
RNG = random.Random() if LONG else random.Random(1)


def fast_config(folder: Path) -> Path:
    """Write settings with an engine that generates images without delay."""
    path = folder / "framehouse.toml"
    path.write_text(
        f'worker_concurrency = 8\nlease_s = 5\n[models."kling-v3-omni"]\nroutes = [{{ engine = "{MISBEHAVING}" }}]\n'
    )
    return path


async def answer_randomly(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Refuse, redirect or cut off a third of the callbacks.

    The fifth delivery of a message always succeeds, because the pauses between deliveries become longer.
    """
    id = receiver.received[-1].headers["webhook-id"]
    earlier_deliveries = sum(callback.headers["webhook-id"] == id for callback in receiver.received) - 1
    luck = RNG.random() if earlier_deliveries < 4 else 1.0
    if luck < 0.11:
        writer.transport.abort()
        return
    status = "500 Oops" if luck < 0.22 else "302 Found" if luck < 0.33 else "200 OK"
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


@pytest.mark.long
@pytest.mark.timeout(480)
async def test_every_message_arrives_although_processes_are_killed(tmp_path: Path) -> None:
    """Receivers fail a third of the time. The server, or its child processes, are killed with SIGKILL several times.

    `make chaos` runs this test with more tasks and another seed each time.
    """
    path = fast_config(tmp_path)
    async with (
        receiving(behave=answer_randomly) as one,
        receiving(behave=answer_randomly) as two,
        receiving(behave=answer_randomly) as three,
    ):
        receivers = [one, two, three]
        accepted, secret = await _submit_during_kills(tmp_path, path, receivers)
        assert len(accepted) == TASKS
        received: dict[str, list[ReceivedCallback]] = defaultdict(list)
        for receiver in receivers:
            for callback in receiver.received:
                callback.verify(secret)
                received[callback.data["task_id"]].append(callback)
    assert set(received) == set(accepted)
    for task_id, callbacks in received.items():
        statuses = [callback.data["task_status"] for callback in callbacks]
        assert list(dict.fromkeys(statuses)) == ["processing", "succeed"], task_id
        assert statuses == sorted(statuses), "a status arrived after a later status"
        ids = {callback.headers["webhook-id"] for callback in callbacks}
        assert len(ids) == 2, "repeated deliveries of a message have different ids"
    account = run_json("account", "show", "default", "--data-dir", tmp_path / "data")
    assert (account["images_in_flight"], account["units_used"]) == (0, 8 * TASKS)


async def _submit_during_kills(tmp_path: Path, path: Path, receivers: list[Receiver]) -> tuple[list[str], str]:
    """Submit all tasks while the server is killed and restarted, and wait until all callbacks are delivered.

    Returns the ids of the tasks and the callback secret of the account.
    """
    accepted: list[str] = []
    data, key = tmp_path / "data", ""
    for life in range(KILLS + 1):
        serving = serve(data, "--config", path, **PRIVATE)
        server: Server = await asyncio.to_thread(serving.__enter__)
        try:
            key = key or server.key
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30) as http:
                for n in range(len(accepted), TASKS * (life + 1) // (KILLS + 1)):
                    accepted.append(await _submit(http, n, receivers[n % 3].url))  # noqa: PERF401 - the requests are sequential
                if life < KILLS:
                    await asyncio.sleep(RNG.uniform(0, 1.5))
                    if life % 2:
                        await asyncio.to_thread(server.kill)
                    else:
                        process_tree.kill(server.children())
                else:
                    await _wait_until_all_delivered(http)
        finally:
            await asyncio.to_thread(serving.__exit__, None, None, None)
    secret = run_json("account", "show", "default", "--data-dir", data)["callback_secret"]
    return accepted, secret


async def _submit(http: httpx.AsyncClient, n: int, url: str) -> str:
    """Submit a task with an idempotency key, and repeat the request until it is answered. Returns the task id."""
    body = {"model_name": "kling-v3-omni", "prompt": f"fox {n}", "callback_url": url}
    while True:
        try:
            answer = await http.post(PATH, json=body, headers={"Idempotency-Key": f"k{n}"})
            if answer.status_code == 200:
                return str(answer.json()["data"]["task_id"])
            assert answer.status_code in (429, 503), answer.text
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)


async def _wait_until_all_delivered(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(300):
        while True:
            text = (await http.get("/metrics")).text
            samples = [line for line in text.splitlines() if line.startswith("framehouse_callback_messages{")]
            waiting = sum(float(line.split()[-1]) for line in samples if 'state="waiting"' in line)
            delivered = sum(float(line.split()[-1]) for line in samples if 'state="delivered"' in line)
            if not waiting and delivered == 2 * TASKS:
                return
            await asyncio.sleep(0.3)


def test_callbacks_are_listed_resent_and_received_by_commands(tmp_path: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    with serve(tmp_path / "data", "--config", fast_config(tmp_path), **PRIVATE) as server:
        command = [*FRAMEHOUSE, "callback", "listen", "--port", "0", "--json", *map(str, data)]
        listener = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        try:
            assert listener.stdout and listener.stderr
            url = listener.stderr.readline().split()[4]
            with client(server.url, server.key) as http:
                body = {"model_name": "kling-v3-omni", "prompt": "a fox", "callback_url": url + "hook"}
                task_id = http.post(PATH, json=body).json()["data"]["task_id"]
            received = [json.loads(listener.stdout.readline()) for _ in range(2)]
            assert [m["data"]["task_status"] for m in received] == ["processing", "succeed"]
            assert [m["problem"] for m in received] == [None, None]
            listed = list_when_delivered(task_id, *data)
            assert {m["state"] for m in listed} == {"delivered"}
            assert run_json("callback", "list", "--failed", *data) == []
            run("callback", "resend", listed[0]["id"], *data)
            repeated = json.loads(listener.stdout.readline())
            assert repeated["id"] == received[1]["id"] == "msg_" + listed[0]["id"].replace("-", "")
            rotated = run_json("account", "rotate-secret", "default", *data)
            assert rotated["callback_secret"].startswith("whsec_")
            run("callback", "resend", listed[0]["id"], *data)
            assert json.loads(listener.stdout.readline())["problem"] is None, (
                "the message is not signed with the old secret too"
            )
        finally:
            listener.send_signal(signal.SIGINT)
            listener.communicate(timeout=90)
        assert listener.returncode == 130
    shown = run("callback", "list", task_id, *data).stdout
    assert "delivered" in shown
    assert "attempts" in shown


def list_when_delivered(task_id: str, *data: str | Path) -> list[dict[str, Any]]:
    """Wait until the task's messages are delivered, at most 90 seconds, and return them."""
    end = time.monotonic() + 90
    while True:
        listed: list[dict[str, Any]] = run_json("callback", "list", task_id, *data)
        if all(message["state"] == "delivered" for message in listed) or time.monotonic() > end:
            return listed


@pytest.mark.xdist_group("shared_data")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["callback", "resend", "nothing"], 2, "not the id of a message"),
        (["callback", "resend", "0" * 32], 1, "has no message"),
        (["callback", "listen", "--secret", "whsec_dGVzdA==", "--host", "203.0.113.1"], 1, "--port"),
        (["callback", "listen", "--secret", "x"], 2, "must be whsec_"),
        (["account", "rotate-secret", "nobody"], 1, "There is no account"),
    ],
)
def test_an_error_message_gives_advice(shared_data: Path, words: list[str], code: int, message: str) -> None:
    assert message in run(*words, "--data-dir", shared_data, code=code).stderr
