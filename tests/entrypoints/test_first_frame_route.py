"""The setting `first_frame` of a route: another route generates the first image of a series."""

from base64 import b64encode
from typing import Any

import pytest

from framehouse.domain.model import Model
from framehouse.engines.registry import BadRoute, open_registry
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.series_engines import EDIT, TEXT, EditEngine, TextEngine
from tests.support.tasks import wait_for_task

EDIT_ROUTE = {"engine": EDIT, "name": "edit", "first_frame": "text"}
TEXT_ROUTE = {"engine": TEXT, "name": "text"}


@pytest.fixture(autouse=True)
def _clear_calls() -> None:
    TextEngine.calls.clear()
    EditEngine.calls.clear()


async def test_another_route_generates_the_first_image_of_a_series(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(EDIT_ROUTE, TEXT_ROUTE)
    deployment.start_worker()
    ticket = await deployment.submit("a boat", result_type="series", series_amount=3)
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status == "succeed"
    assert (TextEngine.calls, EditEngine.calls) == ([[0]], [[1, 2]])
    engines = await deployment.db.rows("select index, engine from shots where task_id = $1 order by index", task.id)
    assert [(row["index"], row["engine"]) for row in engines] == [(0, "text"), (1, "edit"), (2, "edit")]


async def test_the_route_itself_generates_a_series_with_references(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(EDIT_ROUTE, TEXT_ROUTE)
    deployment.start_worker()
    content = b64encode(image_file(400, 300)).decode()
    ticket = await deployment.submit(
        "<<<image_1>>> on a lake", image_list=[{"image": content}], result_type="series", series_amount=2
    )
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert (TextEngine.calls, EditEngine.calls) == ([], [[0, 1]])


async def test_a_single_image_does_not_use_the_setting(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(EDIT_ROUTE, TEXT_ROUTE)
    deployment.start_worker()
    ticket = await deployment.submit("a boat")
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert (TextEngine.calls, EditEngine.calls) == ([[0]], [[0]])


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([EDIT_ROUTE], "the name of another route of this model (there is none)"),
        ([EDIT_ROUTE | {"first_frame": "edit"}, TEXT_ROUTE], "the name of another route of this model (text)"),
        ([EDIT_ROUTE | {"first_frame": 3}, TEXT_ROUTE], "the name of another route"),
        ([TEXT_ROUTE | {"first_frame": "edit"}, {"engine": EDIT, "name": "edit"}], "first_frame has no effect"),
        ([EDIT_ROUTE, {"engine": EDIT, "name": "text"}], "generates only from references"),
        (
            [
                EDIT_ROUTE,
                {"engine": "kling", "name": "text", "base_url": "https://u.test", "accounts": [{"api_key": "k"}]},
            ],
            "may charge for images",
        ),
    ],
)
def test_the_error_names_the_problem_of_the_setting(routes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadRoute, match=message.replace("(", r"\(").replace(")", r"\)")):
        open_registry([(Model("kling-v3-omni"), routes)])


def test_routes_with_and_without_the_setting_share_an_engine() -> None:
    registry = open_registry([(Model("a"), [{**EDIT_ROUTE}, {**TEXT_ROUTE}]), (Model("b"), [{"engine": EDIT}])])
    assert registry.routes("a")[0].engine is registry.routes("b")[0].engine
