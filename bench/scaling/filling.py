"""Fill the tables with ended tasks, oldest first, as after years of service."""

import secrets
import time

import asyncpg

from framehouse.adapters.postgres.new_task import NewTask
from framehouse.domain.reference import Reference
from framehouse.domain.shot import Shot
from framehouse.domain.task import new_task_id

PROMPT = (
    "A quiet harbour at dawn, fishing boats with red hulls, gulls over the water, soft morning light from the left, "
    "thin fog between the masts, wet cobblestones in front, wide angle, film grain"
)
"""A prompt of a typical length."""
_ROWS_PER_STATEMENT = 200_000
_INSERT_TASKS = """
with numbered as materialized (
    select n, now() - ({rows} - n) * interval '{apart_s} s' as at, random() as share,
           1 + floor({accounts} * random() ^ 3)::int as account
    from generate_series({first}, {last}) n
), ids as materialized (
    select *, (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
               || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid as id
    from numbered
), t as (
    insert into tasks (id, account_id, external_task_id, status, model, prompt, elements, result_type, image_count,
                       images_done, resolution, ratio, watermark, units_reserved, units_charged, created_at, updated_at,
                       ended_at, expires_at, expired_at)
    select id, account, case when share < 0.3 then 'order-' || n end, 'succeed', 'kling-v3-omni', '{prompt}', '{{}}',
           'single', 1, 1, '1k', '1:1', false, 8, 8, at, at, at, at + interval '30 days',
           case when n <= {expired} then at + interval '30 days' end
    from ids
)
insert into shots (task_id, index, prompt, framing, seed, painted_at, engine, key, media_type, width, height)
select id, 0, '{prompt}', '', n, at, 'diffusers', 'images/' || id || '/0-' || substr(md5(n::text), 1, 12) || '.png',
       'image/png', 1024, 1024
from ids
"""


async def create_accounts(connection: "asyncpg.Connection[asyncpg.Record]", accounts: int) -> None:
    await connection.execute(
        "insert into accounts (name, concurrency, callback_secret) "
        f"select 'bench-' || n, 1000000, 'whsec_' || repeat('a', 32) from generate_series(1, {accounts}) n"
    )


async def fill(
    connection: "asyncpg.Connection[asyncpg.Record]", *, rows: int, accounts: int, expired: int = 0, days: float = 395
) -> float:
    """Insert `rows` ended tasks of one image each, distributed over the last `days` days. Returns the time in seconds.

    A few of the accounts have most of the tasks. The images of the oldest `expired` tasks are expired.
    """
    began = time.monotonic()
    await connection.execute("set session_replication_role = replica; set synchronous_commit = off")
    for first in range(1, rows + 1, _ROWS_PER_STATEMENT):
        last = min(first + _ROWS_PER_STATEMENT - 1, rows)
        values = {"rows": rows, "first": first, "last": last, "accounts": accounts, "expired": expired}
        statement = _INSERT_TASKS.format(**values, apart_s=days * 86400 / rows, prompt=PROMPT)
        await connection.execute(statement, timeout=600)
    await connection.execute("reset session_replication_role; reset synchronous_commit")
    await connection.execute("vacuum analyze", timeout=600)
    return time.monotonic() - began


def new_task(account: int, *, images: int = 1, references: int = 0, callback: str = "") -> NewTask:
    """Return a task as pipeline/accept.py creates it, with one batch per image."""
    indexes = range(images)
    return NewTask(
        task_id=new_task_id(time.time_ns() // 1_000_000, secrets.randbits(74)),
        account_id=account,
        model="kling-v3-omni",
        prompt=PROMPT,
        result_type="single",
        resolution="1k",
        ratio="1:1",
        watermark=False,
        units=8 * images,
        shots=tuple(Shot(i, PROMPT, "", 7 + i) for i in indexes),
        batches=tuple((i,) for i in indexes),
        references=tuple(Reference(key=f"references/{i}", width=1024, height=1024) for i in range(references)),
        callback_url=callback,
    )
