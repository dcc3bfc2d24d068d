"""What a whole server writes down by default: what went wrong and where, and nothing of what callers sent."""

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

pytestmark = pytest.mark.xdist_group("logs")  # one process, for what its tests share

SECRET = "sesame"
"""In every prompt, token and password of this test."""
BODY: dict[str, Any] = {"model_name": "kling-v3-omni", "prompt": f"a fox of {SECRET}"}


WORKER = "framehouse.entrypoints.worker.record_outcome"


@dataclass(frozen=True)
class Written:
    """All that a server and its database wrote while it was used and misused, and the keys, codes, tokens and pictures
    that it was given or gave."""

    log: str
    postgres: str
    secrets: list[str]


def break_the_database(data_dir: Path) -> None:
    """So that a statement fails with a caller's words in its hands."""

    async def forbid() -> None:
        connection = await asyncpg.connect(EmbeddedPostgres(data_dir).url)
        try:
            await connection.execute("alter table tasks add constraint broken check (prompt not like 'fail%')")
            await connection.execute("alter table elements add constraint broken check (name = '') not valid")
        finally:
            await connection.close()

    asyncio.run(forbid())


def ended(http: httpx.Client, task_id: str) -> str:
    return str(http.get(f"{PATH}/{task_id}?wait=30").json()["data"]["task_status_msg"])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    data = tmp_path_factory.mktemp("logs") / "data"
    config = data.parent / "framehouse.toml"
    config.write_text('[models."kling-v3-omni"]\nroutes = [{ engine = "tests.support.quoting_engine:Telling" }]\n')
    image = image_base64()
    with serve_unprepared(data, "--config", config) as server:
        code = re.search(r"#/sign-in/(\S+)", server.out)
        assert code
        made = run_json("key", "create", "default", "--jwt", "--data-dir", data, "--config", config)
        secrets = [server.key, code[1], made["secret_key"], image[:40]]
        now = int(time.time())
        tokens = [
            jwt.encode({"iss": made["access_key"], "exp": now + end}, secret, algorithm="HS256")
            for end, secret in ((600, made["secret_key"]), (-600, made["secret_key"]), (600, "wrong" * 10))
        ]
        with client(server.url, server.key) as http:
            for token in (*tokens, server.key[:-2], "fh_" + SECRET * 7, SECRET, f"a.{SECRET}.c"):
                answer = httpx.get(server.url + PATH, headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == (200 if token == tokens[0] else 401)
            secrets += tokens
            for given in (code[1], SECRET):
                httpx.post(f"{server.url}/console/sign-in", json={"code": given})
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
            told = [ended(http, tasks[n]) for n in (0, 1, 3, 5)]
            assert all(SECRET in one for one in told[:3]), "callers are told"
            assert "private" in told[3]
            break_the_database(data)
            assert http.post(PATH, json=BODY | {"prompt": f"fail {SECRET}"}).status_code == 500
            fields = {"element_name": SECRET, "element_description": SECRET}
            assert http.post("/v1/general/advanced-custom-elements", json=element_body(**fields)).status_code == 500
        assert server.stop() == 0
    log = (data.parent / f"{data.name}.log").read_text()
    doctor = run("doctor", "--data-dir", data, "--config", config).stdout
    return Written(log + doctor, (data / "postgres.log").read_text(), secrets)


def records(log: str) -> list[str]:
    """With what stands indented under them."""
    return re.split(r"\n(?=\d{4}-\d\d-\d\d )", log)


def with_secret(text: str, secret: str) -> list[str]:
    return [record[:300] for record in records(text) if secret in record]


def test_no_keys_codes_or_pictures_are_written_down(written: Written) -> None:
    for secret in written.secrets:
        assert with_secret(written.log, secret) == []
        assert with_secret(written.postgres, secret) == []


def test_no_prompts_and_tokens_of_callers_are_written_down(written: Written) -> None:
    assert [found for found in with_secret(written.log, SECRET) if WORKER not in found] == []


def test_no_words_of_engines_are_written_down(written: Written) -> None:
    assert with_secret(written.log, SECRET) == []


def test_no_rows_are_written_down_by_the_database(written: Written) -> None:
    assert "violates check constraint" in written.postgres
    assert with_secret(written.postgres, SECRET) == []


def test_what_broke_is_found_by_its_request_and_place(written: Written) -> None:
    (accepting,) = [r for r in records(written.log) if " failed: CheckViolationError" in r and "accept.py" in r]
    assert re.search(r"request [0-9a-f]{32} failed", accepting)
    assert re.search(r'File ".*pipeline/accept.py", line \d+, in accept', accepting)


def test_a_trace_has_types_and_places_of_all_causes_and_no_words() -> None:
    def fail(error: BaseException) -> None:
        raise error

    try:
        try:
            fail(ValueError(SECRET))
        except ValueError as error:
            raise ExceptionGroup(SECRET, [KeyError(SECRET), error]) from error
    except ExceptionGroup as group:
        told = safe_traceback(group)
    assert SECRET not in told
    assert all(word in told for word in ("ExceptionGroup", "KeyError", "ValueError", "in fail", "test_logs.py"))
