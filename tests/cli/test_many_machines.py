"""Separate API and worker processes, as on many machines, that share a PostgreSQL, a PgBouncer and a bucket."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support import services
from tests.support.command_line import FRAMEHOUSE, PATH, client, environment, run, run_json
from tests.support.data_folder import prepare
from tests.support.served_deployment import config, wait, wait_for_images

BODY = {"model_name": "kling-v3-omni", "prompt": "a fox", "n": 3}


@dataclass
class Machines:
    """The shared services, and the processes that use them."""

    folder: Path
    settings: dict[str, str]
    bucket: services.S3
    server: services.Postgres
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, *words: str | Path) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}-{len(self.started)}.log").open("ab") as log:
            command = [*FRAMEHOUSE, name, *map(str, words), "--config", str(self.folder / "framehouse.toml")]
            self.started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment(**self.settings)))
        return self.started[-1]

    def api(self, **extra: str) -> str:
        """Start another API process, wait until it is ready, and return its URL."""
        self.settings |= extra
        log = self.folder / f"api-{len(self.started)}.log"
        process, end = self.start("api", "--port", "0"), time.monotonic() + 90
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            if match := re.search(r"listens on (\S+)", log.read_text()):
                try:
                    if httpx.get(f"{match[1]}/readyz", timeout=60).status_code == 200:
                        return match[1]
                except httpx.HTTPError:
                    pass
            time.sleep(0.05)


@contextmanager
def machines(folder: Path, *, pooled: bool = True) -> Iterator[Machines]:
    with ExitStack() as stack:
        server = stack.enter_context(services.postgres())
        pooler = stack.enter_context(services.pgbouncer(server, connections=8)) if pooled else server
        bucket = stack.enter_context(services.s3())
        settings = (
            bucket.variables
            | {
                "FRAMEHOUSE_DATABASE_URL": pooler.url(),
                "FRAMEHOUSE_STORAGE_URL": bucket.url("prefix"),
                "FRAMEHOUSE_DATA_DIR": str(folder / "data"),
                "FRAMEHOUSE_LEASE_S": "2",
            }
            | ({"FRAMEHOUSE_DIRECT_DATABASE_URL": server.url()} if pooled else {})
        )
        config(folder, folder / "notes", seconds=0.3)
        running = Machines(folder, settings, bucket, server)
        try:
            yield running
        finally:
            for process in running.started:
                process.terminate()
            for process in running.started:
                process.wait(timeout=60)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pooled", [True, False], ids=["pgbouncer", "direct"])
def test_no_task_is_lost_when_workers_database_and_bucket_fail(tmp_path: Path, pooled: bool) -> None:
    with machines(tmp_path, pooled=pooled) as deployment:
        urls = [deployment.api(), deployment.api(FRAMEHOUSE_IMAGE_DELIVERY="redirect")]
        killed, _ = deployment.start("worker"), deployment.start("worker")
        run("account", "create", "default", code=0, **deployment.settings)
        key = run_json("key", "create", "default", code=0, **deployment.settings)["key"]
        with client(urls[0], key) as first, client(urls[1], key) as second:

            def submit(http: httpx.Client) -> str:
                return str(http.post(PATH, json=BODY).raise_for_status().json()["data"]["task_id"])

            tasks = [submit(http) for _ in range(4) for http in (first, second)]
            wait_for_images(tmp_path / "notes", 2)
            os.kill(killed.pid, signal.SIGKILL)
            deployment.server.kill()
            deployment.server.start()
            deployment.bucket.stop()
            tasks.append(submit(first))  # accepting needs no bucket
            end = time.monotonic() + 60
            while (checks := first.get("/readyz").json()["checks"]) != {"database": "ok", "storage": "away"}:
                assert time.monotonic() < end, checks  # a busy machine may need longer than the limit of the check
                time.sleep(0.1)
            deployment.bucket.start()
            for task in tasks:
                ended = wait(first, task)
                assert (ended["task_status"], len(ended["task_result"]["images"])) == ("succeed", 3), ended
            image = ended["task_result"]["images"][0]["url"]
            served = httpx.get(image, timeout=60)
            assert (served.status_code, served.headers["content-type"]) == (200, "image/png")
            redirect = httpx.get(image.replace(urls[0], urls[1]), timeout=60)
            assert (redirect.status_code, redirect.content) == (302, b"")
            assert redirect.headers["location"].startswith(deployment.settings["AWS_ENDPOINT_URL"])
            console = httpx.get(image.replace(urls[0], urls[1]), headers={"Sec-Fetch-Site": "same-origin"}, timeout=60)
            assert (console.status_code, console.content) == (200, served.content)
            stored = httpx.get(redirect.headers["location"], timeout=60)
            assert (stored.content, stored.headers["content-type"]) == (served.content, "image/png")
            head = httpx.head(image.replace(urls[0], urls[1]), follow_redirects=True, timeout=60)
            assert head.headers["content-length"] == str(len(served.content))
            # "x" is not a hexadecimal digit, so this signature is always wrong
            invalid = httpx.get(re.sub(r"signature=\w", "signature=x", image.replace(urls[0], urls[1])), timeout=60)
            assert (invalid.status_code, invalid.json()["code"]) == (404, 1203)
        findings = {f["number"]: f for f in run_json("doctor", code=0, **deployment.settings)}
        assert (findings[6]["level"], findings[7]["level"]) == ("ok", "ok")
        assert ("through a pooler" in findings[7]["found"]) is pooled


def test_a_start_reports_errors_of_the_shared_services(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    with services.s3() as bucket:
        valid = bucket.variables | {
            "FRAMEHOUSE_STORAGE_URL": bucket.url(),
            "FRAMEHOUSE_DATA_DIR": str(tmp_path / "data"),
        }
        serve, api, worker, doctor = ["serve", "--port", "0"], ["api", "--port", "0"], ["worker"], ["doctor"]
        unreachable = "postgresql://me:secret@127.0.0.1:1/x"
        for invalid, message, commands in (
            ({"AWS_ACCESS_KEY_ID": "nobody"}, "access denied", (serve, doctor)),
            ({"FRAMEHOUSE_STORAGE_URL": "s3://missing/prefix"}, "no such bucket", (worker,)),
            ({"FRAMEHOUSE_DATABASE_URL": unreachable}, "cannot be reached", (serve, api, worker, doctor)),
        ):
            for command in commands:
                done = run(*command, code=1, **(valid | invalid))
                output = done.stderr + done.stdout
                assert message in output and "secret" not in output, output
