"""Real workers with labels: if a worker is killed, another worker that serves the same route continues its order."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command_line import FRAMEHOUSE, environment, run, run_json, serve
from tests.support.data_folder import prepare
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MISBEHAVING, MakeDeployment
from tests.support.named_engine import API, GPU, MODEL, NAMED_ENGINE
from tests.support.tasks import assert_nothing_left, wait_for_task, waiting_route

ROUTE = 'name = "{0}", engine = "{1}", called = "{0}", notes = "{2}", needs = {{ {3} }}'


@contextmanager
def working(folder: Path, config: Path, url: str, *labels: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a real `framehouse worker` with these labels."""
    settings = environment(FRAMEHOUSE_DATABASE_URL=url, FRAMEHOUSE_STORAGE_URL=(folder / "files").as_uri())
    words = [word for label in labels for word in ("--label", label)]
    with (folder / "worker.log").open("a") as log:
        process = subprocess.Popen(
            [*FRAMEHOUSE, "worker", *words, "--data-dir", str(folder / "data"), "--config", str(config)],
            stderr=log,
            stdout=log,
            env=settings,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


async def test_the_open_order_of_a_killed_worker_is_continued(
    make_deployment: MakeDeployment, database_url: str, tmp_path: Path
) -> None:
    """The first route is unavailable, so its worker hands the batch over to the second route.

    The worker of the second route is killed while it has an open order. Another worker with the same labels continues
    the order, and the first route is not tried again.
    """
    notes, config = tmp_path / "notes", tmp_path / "framehouse.toml"
    routes = (("gpu", 'gpu = "h100"'), ("api", 'site = "a"'))
    tables = ", ".join("{ " + ROUTE.format(name, NAMED_ENGINE, notes, needs) + " }" for name, needs in routes)
    config.write_text(f'[models."{MODEL}"]\nroutes = [{tables}]\n')
    deployment = await make_deployment(GPU, API)

    def calls() -> list[list[str]]:
        return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []

    async def ordered() -> bool:
        return bool(await deployment.db.value("select count(*) from batches where notes <> '{}'"))

    async def released() -> bool:
        return await waiting_route(deployment) is not None

    with working(tmp_path, config, database_url, "gpu=h100"):
        with working(tmp_path, config, database_url, "site=a") as killed:
            ticket = await deployment.submit("away gpu, hang api")
            await eventually(ordered, seconds=120)
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait()
        await eventually(released, seconds=90)
        assert await waiting_route(deployment) == "api"
        with working(tmp_path, config, database_url, "site=a", "more=labels") as successor:
            assert (await wait_for_task(deployment, ticket.task_id, seconds=120)).status == "succeed"
            assert [(name, order) for name, _, order in calls()] == [("gpu", "-"), ("api", "-"), ("api", "x")]
            assert [int(pid) for _, pid, _ in calls()[1:]] == [killed.pid, successor.pid]
    await assert_nothing_left(deployment, used=8)


def config_with_labels(folder: Path) -> Path:
    path = folder / "framehouse.toml"
    routes = f'[{{ engine = "{MISBEHAVING}", name = "far", needs = {{ gpu = "h100" }} }}, {{ engine = "previz" }}]'
    path.write_text(f'[models."{MODEL}"]\nroutes = {routes}\n')
    return path


def test_generate_serve_and_doctor_report_routes_that_no_worker_serves(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    config, data = config_with_labels(tmp_path), tmp_path / "data"
    words = ("--config", config, "--data-dir", data)
    errors = run("generate", "a fox", *words, "--out", tmp_path / "out", code=1).stderr
    assert "needs gpu=h100, and no live worker has these labels" in errors
    assert "framehouse worker --label gpu=h100" in errors
    run("generate", "a fox", *words, "--out", tmp_path / "out", FRAMEHOUSE_WORKER_LABELS='{"gpu": "h100"}')
    with serve(data, "--config", config):
        log = (tmp_path / "data.log").read_text()
    assert "this server's own worker does not serve the route far, which needs the labels gpu=h100" in log
    findings = {f["found"]: f for f in run_json("doctor", *words, code=1) if f["number"] == 12}
    assert findings[f"No live worker serves the route far of {MODEL}"]["do"] == (
        "Start a worker: framehouse worker --label gpu=h100"
    )


def test_an_invalid_label_is_refused(tmp_path: Path) -> None:
    for words, message in (
        (("--label", "gpu"), 'must have the form NAME=VALUE, not "gpu"'),
        (("--label", "gpu="), "must have the form NAME=VALUE"),
        (("--label", "gpu=a", "--label", "gpu=b"), '--label "gpu" has two values'),
    ):
        assert message in run("worker", *words, "--data-dir", tmp_path, code=2).stderr
