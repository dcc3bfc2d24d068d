"""A Framehouse that relays to a Framehouse passes the tests of one that paints itself.

The imported tests are those that see a task from its client to its pictures; here, `make_house` puts another
house behind.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage, open_storage
from framehouse.pipeline.cancel import cancel
from tests.api.test_omni_image import (  # noqa: F401
    test_a_series_fills_the_other_array,
    test_a_task_from_post_to_pictures,
    test_progress_while_processing,
    test_quota_is_in_images_and_exact,
    test_references_decide_the_shape_and_are_checked,
    test_waiting_answers_when_the_task_ends,
)
from tests.entrypoints.test_worker import (  # noqa: F401
    ended,
    nothing_left,
    test_a_blocked_event_loop_or_an_odd_size_does_no_harm,
    test_a_finished_picture_waits_for_the_storage_and_is_not_painted_again,
    test_a_stopped_worker_hands_back_what_it_cannot_finish,
    test_a_task_is_painted_whatever_the_batch,
    test_more_references_than_the_engine_takes_are_not_dropped,
    test_two_workers_share_without_painting_twice,
    test_unavailable_alone_is_asked_again_later,
    test_what_fails_ends_the_task_with_its_reason_and_costs_nothing,
    test_workers_outlive_cut_connections,
)
from tests.support.api_server import Api, serving
from tests.support.database import Server, fresh_database
from tests.support.eventually import eventually
from tests.support.house import House, MakeHouse, build_house
from tests.support.image_files import image_base64


@pytest.fixture
async def make_house(
    postgres: Server, template: str, db: Database, storage: Storage, tmp_path: Path
) -> AsyncIterator[MakeHouse]:
    """Houses in front of others: the routes are those of the upstream, which has a database and storage of its own."""
    async with AsyncExitStack() as stack:

        async def make(*routes: dict[str, object], **options: Any) -> House:
            url = await stack.enter_async_context(fresh_database(postgres, template))
            behind = Database(url, size=8)
            await behind.open()
            stack.push_async_callback(behind.close)
            upstream = await build_house(behind, open_storage((tmp_path / url[-12:]).as_uri()), *routes)
            stack.push_async_callback(upstream.close)
            served: Api = await stack.enter_async_context(serving(upstream))
            upstream.start_worker()
            key = served.alice.headers["authorization"].removeprefix("Bearer ")
            route = {"engine": "kling", "base_url": f"{served.url}/kling", "accounts": [{"api_key": key}]}
            house = await build_house(db, storage, route | {"lost_after_s": 1}, **options)
            stack.push_async_callback(house.close)
            behind_of[id(house)] = upstream
            return house

        yield make


behind_of: dict[int, House] = {}
"""The house behind each."""


async def test_a_cancelled_task_is_cancelled_behind_too(make_house: MakeHouse) -> None:
    house = await make_house()
    behind = behind_of[id(house)]
    ticket = await house.submit("hang", n=3)
    house.start_worker()

    async def running() -> bool:
        return bool((await behind.account())["images_in_flight"] == 3)

    await eventually(running)
    assert await cancel(house.db, house.caller.account_id, ticket.task_id, timedelta(days=1))
    assert (await ended(house, ticket.task_id)).status_message == "Canceled"

    async def free() -> bool:
        return bool((await behind.account())["images_in_flight"] == 0)

    await eventually(free)
    await nothing_left(house, used=0)
    await nothing_left(behind, used=0)


async def test_what_is_asked_for_arrives_behind_as_it_was_sent(make_house: MakeHouse) -> None:
    house = await make_house()
    behind = behind_of[id(house)]
    prompt = "镜头一：狐狸 <<<image_1>>>。镜头二：狐狸睡觉。镜头三：狐狸跑"
    sent: dict[str, Any] = {"result_type": "series", "resolution": "2k", "aspect_ratio": "21:9"}
    ticket = await house.submit(prompt, image_list=[{"image": image_base64()}], **sent)
    house.start_worker()
    task = await ended(house, ticket.task_id)
    assert (task.status, len(task.pictures)) == ("succeed", 3)
    columns = "prompt, result_type, image_count, resolution, ratio, units_charged, watermark"
    ours, theirs = [await one.db.row(f"select {columns} from tasks") for one in (house, behind)]
    assert ours == theirs
    assert await behind.db.value("select array_agg(prompt order by index) from shots") == await house.db.value(
        "select array_agg(prompt order by index) from shots"
    )
