"""Callbacks of the whole server: random kills, and the commands that list, resend and receive callbacks."""

import asyncio
import base64
import json
import os
import random
import signal
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.support import process_tree
from tests.support.callback_listener import application, listening
from tests.support.command_line import PATH, Server, client, run, run_json, serve
from tests.support.data_folder import prepare
from tests.support.eventually import eventually_sync
from tests.support.in_process_deployment import MISBEHAVING
from tests.support.receivers import ReceivedCallback, Receiver, receiving
from tests.support.sockets import free_port

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
        with listening("--json", *data) as listener:
            with client(server.url, server.key) as http:
                body = {"model_name": "kling-v3-omni", "prompt": "a fox", "callback_url": listener.url + "hook"}
                task_id = http.post(PATH, json=body).json()["data"]["task_id"]
            received = [json.loads(listener.line_with("{")) for _ in range(2)]
            assert [m["data"]["task_status"] for m in received] == ["processing", "succeed"]
            assert [m["problem"] for m in received] == [None, None]
            listed = list_when_delivered(task_id, *data)
            assert {m["state"] for m in listed} == {"delivered"}
            assert run_json("callback", "list", "--failed", *data) == []
            run("callback", "resend", listed[0]["id"], *data)
            repeated = json.loads(listener.line_with("{"))
            assert repeated["id"] == received[1]["id"] == "msg_" + listed[0]["id"].replace("-", "")
            rotated = run_json("account", "rotate-secret", "default", *data)
            assert rotated["callback_secret"].startswith("whsec_")
            run("callback", "resend", listed[0]["id"], *data)
            assert json.loads(listener.line_with("{"))["problem"] is None, (
                "the message is not signed with the old secret too"
            )
        assert listener.process.returncode == 130
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


def test_a_user_learns_why_a_private_address_gets_no_callbacks(tmp_path: Path) -> None:
    """The task succeeds. The log, the commands and the API say why its callbacks do not arrive, and what to do."""
    data = ("--data-dir", tmp_path / "data")
    url = f"http://127.0.0.1:{free_port()}/hook"
    reason, advice = "private or special address", "FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1"
    with serve(tmp_path / "data", "--config", fast_config(tmp_path)) as server:
        with client(server.url, server.key) as http:
            body = {"model_name": "kling-v3-omni", "prompt": "a fox", "callback_url": url}
            created = http.post(PATH, json=body)
            assert created.status_code == 200
            task_path = f"{PATH}/{created.json()['data']['task_id']}"

            def failed_message() -> Any:
                messages = http.get(f"{task_path}/callbacks").json()["data"]
                return next((m for m in messages if m["last_error"]), None)

            message = eventually_sync(failed_message)
            assert http.get(f"{task_path}?wait=60").json()["data"]["task_status"] == "succeed"
            task_id = http.get(task_path).json()["data"]["task_id"]
        assert reason in message["last_error"]
        assert advice in message["advice"]
        shown = run("task", "show", task_id, *data).stdout
        assert f"processing to {url}" in shown
        assert "not delivered: the URL points to a private" in shown
        assert "next attempt at" in shown
        assert "waiting until the earlier message of the task is complete" in shown
        assert advice in shown
        by_status = {m["status"]: m for m in run_json("task", "show", task_id, *data)["callbacks"]}
        assert advice in by_status["processing"]["advice"]
        assert by_status["succeed"]["next_try_at"] is None
        listed = run("callback", "list", "--failed", *data).stdout
        assert reason in listed
        assert advice in listed
        refused = run("callback", "test", url, *data, code=1, **PRIVATE)
        assert reason in refused.stderr, "the rule of the running server applies, not the environment of the command"
        assert advice in refused.stderr
        with listening(*data, **PRIVATE) as listener:
            assert any("sends no callbacks to private addresses" in line for line in listener.head)
    log = (tmp_path / "data.log").read_text()
    assert any(reason in line and advice in line for line in log.splitlines())


def test_the_listener_forwards_the_callbacks_of_a_server_to_an_application(tmp_path: Path) -> None:
    """The application is down at first. Its failure is visible in the list, and the message is repeated."""
    data = ("--data-dir", tmp_path / "data")
    with serve(tmp_path / "data", "--config", fast_config(tmp_path), **PRIVATE) as server:
        port = free_port()
        with listening("--forward-to", f"http://127.0.0.1:{port}/hooks", *data) as listener:
            assert not any("private addresses" in line for line in listener.head), listener.head
            secret = run("callback", "listen", "--print-secret", *data).stdout.strip()
            assert run_json("callback", "listen", "--print-secret", *data) == {"callback_secret": secret}
            assert any(secret in line for line in listener.head)
            with client(server.url, server.key) as http:
                body = {"model_name": "kling-v3-omni", "prompt": "a fox", "callback_url": listener.url + "hook"}
                task_id = http.post(PATH, json=body).json()["data"]["task_id"]
            assert "verified" in listener.line_with("verified")
            assert "could not be reached" in listener.line_with("is the application running?")
            failed = eventually_sync(lambda: run_json("callback", "list", task_id, "--failed", *data))
            assert failed[0]["last_code"] == 502
            with application("204 No Content", port=port) as app:
                listed = list_when_delivered(task_id, *data)
                assert {m["state"] for m in listed} == {"delivered"}
                assert [json.loads(content)["task_status"] for _, content in app.received] == ["processing", "succeed"]
                for headers, content in app.received:
                    Webhook(secret).verify(content, headers)
                tested = run("callback", "test", listener.url, *data).stdout
                assert tested.startswith("Delivered: HTTP 204 after ")
                result = run_json("callback", "test", listener.url, *data)
                assert (result["delivered"], result["status"], result["reason"]) == (True, 204, "")
                headers, content = app.received[-1]
                assert result["id"] == headers["webhook-id"]
                assert json.loads(content)["type"] == "test"
    unused = run("callback", "test", f"http://127.0.0.1:{port}/", *data, code=1)
    assert "could not be reached" in unused.stderr
    assert "receiver is running" in unused.stderr


SECRET = "whsec_" + base64.b64encode(b"a secret of the tests").decode()


def post_signed(url: str, n: int = 0) -> httpx.Response:
    """Send a signed message to a listener, as a server does."""
    body, id, now = b'{"task_status":  "succeed", "n": %d}' % n, f"msg_{n}", datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(id, now, body.decode()),
        "X-Other": "not forwarded",
    }
    return httpx.post(url, content=body, headers=headers, timeout=60)


def test_a_message_is_forwarded_unchanged() -> None:
    with application("202 Accepted") as app, listening("--secret", SECRET, "--forward-to", app.url) as listener:
        assert post_signed(listener.url).status_code == 202
        [(headers, body)] = app.received
        assert body == b'{"task_status":  "succeed", "n": 0}'
        Webhook(SECRET).verify(body, headers)
        assert headers["content-type"] == "application/json"
        assert "x-other" not in headers
        assert f"{app.url} answered 202 (" in listener.line_with("answered")
        unsigned = httpx.post(listener.url, content=b"{}")
        assert unsigned.status_code == 400
        assert "not verified" in listener.line_with("not forwarded")
        assert len(app.received) == 1


@pytest.mark.parametrize(
    ("answer", "status", "line"),
    [
        ("500 Oops", 500, "answered 500"),
        ("302 Found\r\nLocation: /other", 302, "redirects are not followed"),
        ("503 Busy\r\nRetry-After: 7", 503, "answered 503"),
        ("410 Gone", 410, "answered 410"),
        ("999 Unknown", 502, "invalid status 999"),
        ("huge", 200, "answered 200"),
        ("hang", 504, "did not respond"),
        ("nonsense", 502, "could not be reached"),
    ],
)
def test_the_status_of_the_application_is_returned(answer: str, status: int, line: str) -> None:
    with application(answer) as app, listening("--secret", SECRET, "--forward-to", app.url) as listener:
        answered = post_signed(listener.url)
        assert answered.status_code == status
        assert answered.headers.get("retry-after") == ("7" if status == 503 else None)
        assert answered.content == b"", "the body of the application is not returned"
        assert line in listener.line_with(f"answered {status}")
        assert len(app.received) == 1


def test_the_listener_does_not_forward_to_itself() -> None:
    port = str(free_port())
    words = ("callback", "listen", "--secret", SECRET, "--port", port, "--forward-to", f"http://localhost:{port}/hooks")
    assert "address of the receiver itself" in run(*words, code=1).stderr


def test_a_command_with_the_wrong_data_folder_says_so(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    words = ("callback", "listen", "--print-secret", "--data-dir", tmp_path / "data")
    error = run(*words, code=1).stderr
    assert 'There is no account "default"' in error
    assert "--data-dir" in error


def test_ten_messages_are_forwarded_at_the_same_time() -> None:
    """The application answers no message until ten connections are open at the same time.

    On a busy machine, the ten messages may not arrive within the listener's time limit. They are then sent again, as a
    server does.
    """
    with (
        application("together 10") as app,
        listening("--json", "--secret", SECRET, "--forward-to", app.url) as listener,
        ThreadPoolExecutor(10) as senders,
    ):

        def all_delivered() -> bool:
            answers = list(senders.map(lambda n: post_signed(listener.url, n), range(10)))
            return {answer.status_code for answer in answers} == {200}

        eventually_sync(all_delivered, seconds=120)
        delivered: set[int] = set()
        while len(delivered) < 10:
            line = json.loads(listener.line_with('"status": 200'))
            assert (line["problem"], line["forwarded"]["problem"]) == (None, None)
            delivered.add(line["data"]["n"])
    assert delivered == set(range(10))


def test_ctrl_c_stops_the_listener_while_an_application_is_slow() -> None:
    with application("hang") as app, ThreadPoolExecutor(1) as sender:
        with listening("--secret", SECRET, "--forward-to", app.url) as listener:
            sending = sender.submit(post_signed, listener.url)
            eventually_sync(lambda: app.received)
            listener.process.send_signal(signal.SIGINT)
            assert listener.process.wait(timeout=60) == 130
        assert "Traceback" not in listener.errors
        with pytest.raises(httpx.TransportError):
            sending.result()


@pytest.mark.xdist_group("shared_data")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["callback", "resend", "nothing"], 2, "not the id of a message"),
        (["callback", "resend", "0" * 32], 1, "has no message"),
        (["callback", "listen", "--secret", "whsec_dGVzdA==", "--host", "203.0.113.1"], 1, "--port"),
        (["callback", "listen", "--secret", "x"], 2, "must be whsec_"),
        (["callback", "listen", "--forward-to", "localhost:3000"], 2, "--forward-to must be an http or https URL"),
        (["callback", "test", "localhost:3000"], 2, "URL must be an http or https URL"),
        (["callback", "test", "http://127.0.0.1:1/", "--account", "nobody"], 1, "There is no account"),
        (["account", "rotate-secret", "nobody"], 1, "There is no account"),
    ],
)
def test_an_error_message_gives_advice(shared_data: Path, words: list[str], code: int, message: str) -> None:
    assert message in run(*words, "--data-dir", shared_data, code=code).stderr
