"""Accepting tasks and telling of them: one `framehouse api`, no worker, 16 connections from 16 accounts.

Beside it, on the same PostgreSQL and with as many clients: pgbench with the statements of accept's transaction one by
one, pgbench with all of them as one statement, and FastAPI with SQLAlchemy as their documentation has it.
"""

import json
import sys
import urllib.request
from collections.abc import Sequence

from measuring.comparisons import Figure, in_turn, median, ratio
from measuring.framehouse_processes import PATH, Api, folder, make_keys, running
from measuring.load import CLIENTS, Request, json_body, percentile, pgbench, steadily, wrk
from measuring.peers import environment_of, free_port, program

BODY = json_body()
SECONDS = 4
FIRST_ACCOUNT = 1
PROMPT = "'a red fox in the forest, at dawn'"
COLUMNS = "model, prompt, elements, result_type, image_count, resolution, ratio, watermark, units_reserved"
VALUES = f"'kling-v3-omni', {PROMPT}, '{{}}', 'single', 1, '1k', '1:1', false, 8"

SEPARATE = f"""
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
ONE = f"""
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
    plain_env, plain_port, hello_port = environment_of("sqlalchemy"), free_port(), free_port()
    peers = __file__.replace("accepting.py", "peers/")
    with folder() as place, running(place / "data", "api") as api:
        keys = make_keys(api.data_dir, CLIENTS)
        posts = [Request("POST", PATH, key, BODY) for key in keys]
        plain = program(
            [plain_env / "python", peers + "plain.py", str(plain_port), api.database],
            port=plain_port,
            log=place / "plain.log",
        )
        hello = program([sys.executable, peers + "hello.py", str(hello_port)], port=hello_port, log=place / "hello.log")
        with plain, hello:
            gets = _polls(api, keys)
            wrk(api.url, posts, seconds=1)
            accepting = in_turn(
                {
                    "ours": lambda: wrk(api.url, posts, seconds=SECONDS),
                    "statements": lambda: pgbench(api.database, SEPARATE, seconds=SECONDS),
                    "one": lambda: pgbench(api.database, ONE, seconds=SECONDS),
                    "sqlalchemy": lambda: wrk(f"http://127.0.0.1:{plain_port}", posts, seconds=SECONDS),
                },
                rounds,
            )
            polling = in_turn(
                {
                    "ours": lambda: wrk(api.url, gets, seconds=SECONDS),
                    "hello": lambda: wrk(f"http://127.0.0.1:{hello_port}", [Request("GET", "/hello")], seconds=SECONDS),
                },
                rounds,
            )
            spread = [_spread(api, posts) for _ in range(rounds)]
    return [*_accepting(accepting), _polling(polling), _steady(spread)]


def _accepting(found: list[dict[str, float]]) -> list[Figure]:
    ours = f"{median(found, 'ours'):,.0f}/s, one process"

    def against(name: str, told: str, reach: float) -> Figure:
        theirs = f"{median(found, name):,.0f}/s"
        what = "accepted tasks per second"
        return Figure(what, told, ratio(found, "ours", name), reach, False, "×", ours, theirs, rounds=found)

    return [
        against("statements", "pgbench, the same as separate statements", 1.0),
        against("one", "pgbench, the same as one statement", 0.75),
        against("sqlalchemy", "FastAPI + SQLAlchemy", 4),
    ]


def _polling(found: list[dict[str, float]]) -> Figure:
    return Figure(
        "polls per second",
        'FastAPI "hello" on the same server stack',
        ratio(found, "ours", "hello"),
        0.9,
        False,
        "×",
        f"{median(found, 'ours'):,.0f}/s",
        f"{median(found, 'hello'):,.0f}/s",
        rounds=found,
    )


def _steady(found: list[dict[str, float]]) -> Figure:
    return Figure(
        "accept, p99 at half the maximum rate",
        "its p50",
        ratio(found, "p99", "p50"),
        4,
        True,
        "×",
        f"{median(found, 'p99') * 1000:.1f} ms at {median(found, 'rate'):,.0f}/s",
        f"{median(found, 'p50') * 1000:.1f} ms",
        rounds=found,
    )


def _spread(api: Api, posts: Sequence[Request]) -> dict[str, float]:
    """At half of what was the most a moment ago: a minute later this may be another machine."""
    rate = wrk(api.url, posts, seconds=2) / 2
    took = steadily(api.port, posts, rate=rate, seconds=4)
    found = {"rate": rate, "p50": percentile(took, 50), "p99": percentile(took, 99)}
    print("   ", ", ".join(f"{name} {figure:,.4g}" for name, figure in found.items()), flush=True)
    return found


def _polls(api: Api, keys: Sequence[str], each: int = 60) -> list[Request]:
    """Polls of many tasks that wait."""
    polls = []
    for key in keys:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        for _ in range(each):
            with urllib.request.urlopen(urllib.request.Request(api.url + PATH, BODY.encode(), headers)) as answer:
                polls.append(Request("GET", f"{PATH}/{json.load(answer)['data']['task_id']}", key))
    return [polls[number * each % len(polls) + number // len(keys)] for number in range(len(polls))]
