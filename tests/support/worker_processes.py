"""Two API processes and two worker processes that share one database."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.command_line import FRAMEHOUSE, environment
from tests.support.in_process_deployment import MISBEHAVING


@contextmanager
def two_apis_and_two_workers(
    folder: Path, url: str, *, worker_concurrency: int, **route: object
) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """Run two API processes and two workers on one database. `route` contains options of the misbehaving engine.

    Yields the URLs of the APIs, and a function that kills the older worker and starts another one.
    """
    variables = {
        "FRAMEHOUSE_DATABASE_URL": url,
        "FRAMEHOUSE_STORAGE_URL": (folder / "files").as_uri(),
        "FRAMEHOUSE_MODELS": json.dumps({"kling-v3-omni": {"routes": [{"engine": MISBEHAVING} | route]}}),
        "FRAMEHOUSE_IMAGE_FORMAT": "jpeg",
        "FRAMEHOUSE_WORKER_CONCURRENCY": str(worker_concurrency),
    }
    running: list[subprocess.Popen[str]] = []

    def start(subcommand: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [*FRAMEHOUSE, subcommand, *arguments, "--data-dir", str(folder / "data")]
        running.append(subprocess.Popen(command, env=environment(**variables), stderr=log, text=True, **options))
        return running[-1]

    def replace_worker() -> None:
        killed = workers.pop(0)
        killed.kill()
        killed.wait()
        workers.append(start("worker", stdout=log))

    with (folder / "processes.log").open("a") as log:
        try:
            workers = [start("worker", stdout=log) for _ in range(2)]
            urls = []
            for _ in range(2):
                api = start("api", "--port", "0", "--json", stdout=subprocess.PIPE)
                assert api.stdout
                urls.append(json.loads(api.stdout.readline())["url"])
            yield urls, replace_worker
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(timeout=60)
                if process.stdout:
                    process.stdout.close()
