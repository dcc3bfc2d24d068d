"""The logs of a whole server with default settings: they name each error and its place, but no data of callers."""

import asyncio
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt
import pytest

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.telemetry.safe_traceback import safe_traceback
from tests.support.api_server import element_body
from tests.support.command_line import PATH, client, run, run_json, serve_unprepared
from tests.support.image_files import image_base64
from tests.support.quoting_engine import WORDS
from tests.support.served_deployment import wait

pytestmark = pytest.mark.xdist_group("logs")  # one test process, because the tests share a fixture

SECRET = "sesame"
"""Part of every prompt, token and password of these tests."""
BODY: dict[str, Any] = {"model_name": "kling-v3-omni", "prompt": f"a fox of {SECRET}"}


WORKER = "framehouse.entrypoints.worker.record_outcome"


@dataclass(frozen=True)
class Logs:
    """The logs of a server and of its database after valid and invalid requests.

    `secrets` contains the keys, codes, tokens and images that the server received or created.
    """

    server: str
    postgres: str
    secrets: list[str]


def break_the_database(data_dir: Path) -> None:
    """Add constraints that make statements with a caller's prompt or element name fail."""

    async def add_constraints() -> None:
        connection = await asyncpg.connect(EmbeddedPostgres(data_dir).url)
        try:
            await connection.execute("alter table tasks add constraint broken check (prompt not like 'fail%')")
            await connection.execute("alter table elements add constraint broken check (name = '') not valid")
        finally:
            await connection.close()

    asyncio.run(add_constraints())


def failure_message(http: httpx.Client, task_id: str) -> str:
    return str(wait(http, task_id)["task_status_msg"])


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    data = tmp_path_factory.mktemp("logs") / "data"
    config = data.parent / "framehouse.toml"
    config.write_text(
        '[models."kling-v3-omni"]\nroutes = [{ engine = "tests.support.quoting_engine:QuotingEngine" }]\n'
    )
    image = image_base64()
    with serve_unprepared(data, "--config", config) as server:
        code = re.search(r"#/sign-in/(\S+)", server.out)
        assert code
        jwt_key = run_json("key", "create", "default", "--jwt", "--data-dir", data, "--config", config)
        secrets = [server.key, code[1], jwt_key["secret_key"], image[:40]]
        now = int(time.time())
        tokens = [
            jwt.encode({"iss": jwt_key["access_key"], "exp": now + end}, secret, algorithm="HS256")
            for end, secret in ((600, jwt_key["secret_key"]), (-600, jwt_key["secret_key"]), (600, "wrong" * 10))
        ]
        with client(server.url, server.key) as http:
            for token in (*tokens, server.key[:-2], "fh_" + SECRET * 7, SECRET, f"a.{SECRET}.c"):
                answer = httpx.get(server.url + PATH, headers={"Authorization": f"Bearer {token}"}, timeout=90)
                assert answer.status_code == (200 if token == tokens[0] else 401)
            secrets += tokens
            for sign_in_code in (code[1], SECRET):
                httpx.post(f"{server.url}/console/sign-in", json={"code": sign_in_code}, timeout=90)
            hook = f"http://127.0.0.1:9/hook?token={SECRET}"
            for body in (
                BODY | {"n": SECRET, "resolution": SECRET, "aspect_ratio": SECRET},
                BODY | {"model_name": SECRET},
                BODY | {"image_list": [{"image": f"http://user:{SECRET}@127.0.0.1/a.png"}]},
                BODY | {"image_list": [{"image": f"data:image/png;base64,{image}!!"}]},
                BODY | {"callback_url": f"http://user:{SECRET}@127.0.0.1/"},
                BODY | {"image_list": [{"image": image[:-40]}, {"image": image + "A" * 100_000}]},
            ):
                assert http.post(PATH, json=body).status_code in (400, 404)
            http.post(PATH, content=b'{"prompt": "' + SECRET.encode() + b'", ', headers={"Idempotency-Key": SECRET})
            http.get(f"/images/{SECRET}/x.png?signature={SECRET}")
            http.get(f"/{SECRET}?key={SECRET}")
            tasks = []
            for word in WORDS:
                images = [{"image": image}] if word == "raise" else []
                body = {"prompt": f"{word} {SECRET}", "callback_url": hook, "image_list": images}
                tasks.append(http.post(PATH, json=BODY | body).json()["data"]["task_id"])
            reference = {"image": f"http://127.0.0.1:9/a.png?token={SECRET}"}
            tasks.append(http.post(PATH, json=BODY | {"image_list": [reference]}).json()["data"]["task_id"])
            messages = [failure_message(http, tasks[n]) for n in (0, 1, 3, 5)]
            assert all(SECRET in message for message in messages[:3]), "the caller does not get the engine's message"
            assert "private" in messages[3]
            break_the_database(data)
            assert http.post(PATH, json=BODY | {"prompt": f"fail {SECRET}"}).status_code == 500
            fields = {"element_name": SECRET, "element_description": SECRET}
            assert http.post("/v1/general/advanced-custom-elements", json=element_body(**fields)).status_code == 500
        assert server.stop() == 0
    log = (data.parent / f"{data.name}.log").read_text()
    doctor = run("doctor", "--data-dir", data, "--config", config, code=1).stdout
    return Logs(log + doctor, (data / "postgres.log").read_text(), secrets)


def records(log: str) -> list[str]:
    """The records of a log, each with its indented lines."""
    return re.split(r"\n(?=\d{4}-\d\d-\d\d )", log)


def with_secret(text: str, secret: str) -> list[str]:
    return [record[:300] for record in records(text) if secret in record]


def test_logs_contain_no_keys_codes_or_images(logs: Logs) -> None:
    for secret in logs.secrets:
        assert with_secret(logs.server, secret) == []
        assert with_secret(logs.postgres, secret) == []


def test_logs_contain_no_prompts_or_tokens_of_callers(logs: Logs) -> None:
    assert [record for record in with_secret(logs.server, SECRET) if WORKER not in record] == []


def test_logs_contain_no_messages_of_engines(logs: Logs) -> None:
    assert with_secret(logs.server, SECRET) == []


def test_the_database_log_contains_no_rows(logs: Logs) -> None:
    assert "violates check constraint" in logs.postgres
    assert with_secret(logs.postgres, SECRET) == []


def test_the_log_names_the_request_and_the_place_of_an_error(logs: Logs) -> None:
    (record,) = [r for r in records(logs.server) if " failed: CheckViolationError" in r and "accept.py" in r]
    assert re.search(r"request [0-9a-f]{32} failed", record)
    assert re.search(r'File ".*pipeline/accept.py", line \d+, in accept', record)


def test_a_safe_traceback_has_the_types_and_places_of_all_causes_but_no_messages() -> None:
    def fail(error: BaseException) -> None:
        raise error

    try:
        try:
            fail(ValueError(SECRET))
        except ValueError as error:
            raise ExceptionGroup(SECRET, [KeyError(SECRET), error]) from error
    except ExceptionGroup as group:
        text = safe_traceback(group)
    assert SECRET not in text
    assert all(word in text for word in ("ExceptionGroup", "KeyError", "ValueError", "in fail", "test_logs.py"))
