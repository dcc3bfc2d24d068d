"""Measure accepts and polls of one `framehouse api` without workers, with 16 connections from 16 accounts.

The alternatives have the same number of clients and use the same PostgreSQL: pgbench with the statements of an accept
one by one, pgbench with all of them as one statement, and FastAPI with SQLAlchemy as in their documentation.
"""

import json
import sys
import urllib.request
from collections.abc import Sequence

from measuring.comparisons import Figure, median, ratio, run_rounds
from measuring.framehouse_processes import PATH, Api, create_keys, running, temporary_folder
from measuring.load import CLIENTS, Request, json_body, percentile, pgbench, times_at_rate, wrk
from measuring.peers import environment_programs, free_port, running_program

BODY = json_body()
SECONDS = 4
FIRST_ACCOUNT = 1
TASKS_PER_KEY = 60
PROMPT = "'a red fox in the forest, at dawn'"
COLUMNS = "model, prompt, elements, result_type, image_count, resolution, ratio, watermark, units_reserved"
VALUES = f"'kling-v3-omni', {PROMPT}, '{{}}', 'single', 1, '1k', '1:1', false, 8"

SEPARATE_STATEMENTS = f"""
\\set account random({FIRST_ACCOUNT}, {FIRST_ACCOUNT + CLIENTS - 1})
select gen_random_uuid() as id \\gset
begin;
select * from accounts where id = :account for update;
select 1 from tasks where id = :id::uuid;
update accounts set images_in_flight = images_in_flight + 1, units_reserved = units_reserved + 8 where id = :account;
insert into tasks (id, account_id, {COLUMNS}) values (:id::uuid, :account, {VALUES});
insert into shots (task_id, index, prompt, framing, seed) values (:id::uuid, 0, {PROMPT}, '', 12345);
insert into batches (task_id, model, shot_indexes) values (:id::uuid, 'kling-v3-omni', '{{0}}');
commit;
"""
ONE_STATEMENT = f"""
\\set account random({FIRST_ACCOUNT}, {FIRST_ACCOUNT + CLIENTS - 1})
with new as (select gen_random_uuid() as id),
account as (
    update accounts set images_in_flight = images_in_flight + 1, units_reserved = units_reserved + 8
    where id = :account and images_in_flight < concurrency returning id
),
task as (
    insert into tasks (id, account_id, {COLUMNS})
    select new.id, account.id, {VALUES}
    from new, account where not exists (select from tasks where tasks.id = new.id)
    returning id
),
shot as (
    insert into shots (task_id, index, prompt, framing, seed)
    select id, 0, {PROMPT}, '', 12345 from task
)
insert into batches (task_id, model, shot_indexes) select id, 'kling-v3-omni', '{{0}}' from task;
"""


def measure(rounds: int) -> list[Figure]:
    programs, sqlalchemy_port, hello_port = environment_programs("sqlalchemy"), free_port(), free_port()
    peers = __file__.replace("accepting.py", "peers/")
    with temporary_folder() as folder, running(folder / "data", "api") as api:
        keys = create_keys(api.data_dir, CLIENTS)
        posts = [Request("POST", PATH, key, BODY) for key in keys]
        sqlalchemy = running_program(
            [programs / "python", peers + "sqlalchemy_accept.py", str(sqlalchemy_port), api.database],
            port=sqlalchemy_port,
            log=folder / "sqlalchemy.log",
        )
        hello = running_program(
            [sys.executable, peers + "hello.py", str(hello_port)], port=hello_port, log=folder / "hello.log"
        )
        with sqlalchemy, hello:
            polls = _polls(api, keys)
            wrk(api.url, posts, seconds=1)
            accept_rates = run_rounds(
                {
                    "ours": lambda: wrk(api.url, posts, seconds=SECONDS),
                    "separate statements": lambda: pgbench(api.database, SEPARATE_STATEMENTS, seconds=SECONDS),
                    "one statement": lambda: pgbench(api.database, ONE_STATEMENT, seconds=SECONDS),
                    "sqlalchemy": lambda: wrk(f"http://127.0.0.1:{sqlalchemy_port}", posts, seconds=SECONDS),
                },
                rounds,
            )
            poll_rates = run_rounds(
                {
                    "ours": lambda: wrk(api.url, polls, seconds=SECONDS),
                    "hello": lambda: wrk(f"http://127.0.0.1:{hello_port}", [Request("GET", "/hello")], seconds=SECONDS),
                },
                rounds,
            )
            accept_times = [_accept_times(api, posts) for _ in range(rounds)]
    return [*_accept_figures(accept_rates), _poll_figure(poll_rates), _accept_time_figure(accept_times)]


def _accept_figures(rounds: list[dict[str, float]]) -> list[Figure]:
    ours = f"{median(rounds, 'ours'):,.0f}/s, one process"

    def figure(name: str, compared_with: str, target: float) -> Figure:
        theirs = f"{median(rounds, name):,.0f}/s"
        result = ratio(rounds, "ours", name)
        return Figure(
            "accepted tasks per second", compared_with, result, target, False, "×", ours, theirs, rounds=rounds
        )

    return [
        figure("separate statements", "pgbench, the same work in separate statements", 1.0),
        figure("one statement", "pgbench, the same work in one statement", 0.75),
        figure("sqlalchemy", "FastAPI + SQLAlchemy", 4),
    ]


def _poll_figure(rounds: list[dict[str, float]]) -> Figure:
    return Figure(
        "polls per second",
        'FastAPI "hello" on the same server stack',
        ratio(rounds, "ours", "hello"),
        0.9,
        False,
        "×",
        f"{median(rounds, 'ours'):,.0f}/s",
        f"{median(rounds, 'hello'):,.0f}/s",
        rounds=rounds,
    )


def _accept_time_figure(rounds: list[dict[str, float]]) -> Figure:
    return Figure(
        "p99 of the time to accept a task, at half the maximum rate",
        "p50 of the same requests",
        ratio(rounds, "p99", "p50"),
        4,
        True,
        "×",
        f"{median(rounds, 'p99') * 1000:.1f} ms at {median(rounds, 'rate'):,.0f}/s",
        f"{median(rounds, 'p50') * 1000:.1f} ms",
        rounds=rounds,
    )


def _accept_times(api: Api, posts: Sequence[Request]) -> dict[str, float]:
    """Return the times of accepts at half the maximum rate.

    The maximum rate is measured immediately before, because the machine's speed changes from minute to minute.
    """
    rate = wrk(api.url, posts, seconds=2) / 2
    times = times_at_rate(api.port, posts, rate=rate, seconds=4)
    values = {"rate": rate, "p50": percentile(times, 50), "p99": percentile(times, 99)}
    print("   ", ", ".join(f"{name} {value:,.4g}" for name, value in values.items()), flush=True)
    return values


def _polls(api: Api, keys: Sequence[str]) -> list[Request]:
    """Create waiting tasks for each key, and return the polls of all tasks with the keys in rotation."""
    polls = []
    for key in keys:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        for _ in range(TASKS_PER_KEY):
            with urllib.request.urlopen(urllib.request.Request(api.url + PATH, BODY.encode(), headers)) as answer:
                polls.append(Request("GET", f"{PATH}/{json.load(answer)['data']['task_id']}", key))
    return [polls[number * TASKS_PER_KEY % len(polls) + number // len(keys)] for number in range(len(polls))]
