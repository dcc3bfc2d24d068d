"""The costs that paid services report: what the engines record, and what `framehouse usage` shows."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from framehouse.domain.errors import Declined
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.fal import Fal
from framehouse.engines.gemini import Gemini
from framehouse.engines.gemini.gemini_answers import read_image
from framehouse.engines.interface import Batch, Engine, GeneratedImage
from framehouse.engines.openai_images import OpenAIImages
from framehouse.engines.openai_images.reported_costs import cost_of_request
from framehouse.engines.option_checks import BadOption
from framehouse.engines.token_prices import check_token_prices
from framehouse.testing.engine_contract import generate, images
from tests.support import compatible_server, fal_server, gemini_server, openai_server
from tests.support.command_line import run
from tests.support.compatible_server import recipe
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.misreported_costs import HEADER_VALUES, JSON_VALUES
from tests.support.recorded_order import RecordedOrder
from tests.support.tasks import wait_for_task

MODEL = "kling-v3-omni"
PRICES = {"text_input": 5, "image_input": 8, "text_output": 10, "image_output": 30}
GPT_USAGE = {
    "input_tokens": 520,
    "input_tokens_details": {"text_tokens": 20, "image_tokens": 500},
    "output_tokens": 2000,
}
IMAGE_TOKENS = {"modality": "IMAGE", "tokenCount": 560}
NO_COSTS = [None]
BLOCKED = {"error": {"code": "content_policy_violation", "message": "no"}}


def batch_of(shots: int = 1, *, prompt: str = "a fox", **fields: Any) -> Batch:
    return Batch("task", tuple(Shot(n, prompt, "", n) for n in range(shots)), shots, Size(1024, 1024), **fields)


def costs_of(generated: list[GeneratedImage]) -> list[str | None]:
    return [f"{image.cost.amount.normalize():f} {image.cost.currency}" if image.cost else None for image in generated]


async def costs(engine: Engine, batch: Batch) -> list[str | None]:
    try:
        return costs_of(images(await generate(engine, batch)))
    finally:
        await engine.close()


@asynccontextmanager
async def compatible(name: str, *, token_prices: Any = None, **state: Any) -> AsyncIterator[OpenAIImages]:
    """An engine with the options of a recipe in docs/engines."""
    async with compatible_server.serving(name, **state) as server:
        yield OpenAIImages(**recipe(name, server.url), token_prices=token_prices)


# --- Services with the Images API -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shots", "expected"),
    [
        ("litellm", 1, ["0.0423 USD"]),
        ("litellm", 3, ["0.0423 USD"] * 3),
        ("xai", 1, ["0.02 USD"]),
        ("xai", 4, ["0.02 USD"] * 4),
        ("azure", 1, NO_COSTS),
        ("seedream", 1, NO_COSTS),
        ("zhipu", 1, NO_COSTS),
        ("plain", 1, NO_COSTS),
    ],
)
async def test_the_cost_of_a_request_is_the_one_that_the_service_reports(
    name: str, shots: int, expected: list[str | None]
) -> None:
    async with compatible(name) as engine:
        assert await costs(engine, batch_of(shots)) == expected


async def test_the_shares_of_the_images_add_up_to_the_cost_of_the_request() -> None:
    async with compatible("litellm", headers={"x-litellm-response-cost": "0.1"}) as engine:
        generated = images(await generate(engine, batch_of(3)))
        await engine.close()
    assert sum(image.cost.amount for image in generated if image.cost) == Decimal("0.1")
    assert costs_of(generated) == ["0.033334 USD", "0.033333 USD", "0.033333 USD"]


async def test_the_cost_of_a_blocked_image_belongs_to_the_other_images_of_its_request() -> None:
    ticks = {"cost_in_usd_ticks": 300_000_000}
    async with compatible("xai", usage=ticks, faults=[lambda data: [data[0], BLOCKED, data[2]]]) as engine:
        assert await costs(engine, batch_of(3)) == ["0.015 USD", "0.015 USD", "0.03 USD"]


@pytest.mark.parametrize("value", HEADER_VALUES)
async def test_a_wrong_header_is_not_a_cost(value: str) -> None:
    async with compatible("litellm", headers={"x-litellm-response-cost": value}) as engine:
        assert await costs(engine, batch_of(2)) == [None, None]


@pytest.mark.parametrize("number", range(len(JSON_VALUES)))
async def test_a_wrong_field_is_not_a_cost(number: int) -> None:
    value = JSON_VALUES[number]
    for usage in ({"cost_in_usd_ticks": value}, value):
        async with compatible("xai", usage=usage, token_prices=PRICES) as engine:
            assert usage is None or await costs(engine, batch_of()) == NO_COSTS


# --- Tokens -----------------------------------------------------------------------------------------------------------


async def test_the_cost_of_a_request_is_calculated_from_the_prices_of_tokens() -> None:
    async with openai_server.serving("openai", usage=GPT_USAGE) as server:
        options = {"kind": "openai", "base_urls": [server.url], "model": "m", "max_pixels": 262_144}
        assert await costs(OpenAIImages(**options, token_prices=PRICES), batch_of(2)) == ["0.03205 USD"] * 2
        assert await costs(OpenAIImages(**options), batch_of(2)) == [None, None]


async def test_a_reported_cost_has_priority_over_the_prices_of_tokens() -> None:
    async with compatible("litellm", token_prices=PRICES) as engine:
        assert await costs(engine, batch_of()) == ["0.0423 USD"]
    async with compatible("litellm", token_prices=PRICES, headers={}) as engine:
        assert await costs(engine, batch_of()) == ["0.03178 USD"]


def test_output_tokens_can_be_specified_by_type() -> None:
    usage = GPT_USAGE | {"output_tokens_details": {"text_tokens": 100, "image_tokens": 1900}}
    cost = cost_of_request({}, usage, check_token_prices(PRICES))
    assert cost is not None
    assert cost.amount == Decimal("0.0621")


@pytest.mark.parametrize("number", range(len(JSON_VALUES)))
def test_a_wrong_number_of_tokens_has_no_cost(number: int) -> None:
    prices, value = check_token_prices(PRICES), JSON_VALUES[number]
    for usage in (
        value,
        GPT_USAGE | {"output_tokens": value},
        GPT_USAGE | {"input_tokens_details": value},
        GPT_USAGE | {"input_tokens_details": {"text_tokens": value, "image_tokens": 0}},
        GPT_USAGE | {"output_tokens_details": {"text_tokens": value}},
    ):
        assert cost_of_request({}, usage, prices) is None


def test_more_text_than_output_and_no_tokens_at_all_have_no_cost() -> None:
    prices = check_token_prices(PRICES)
    assert cost_of_request({}, GPT_USAGE | {"output_tokens_details": {"text_tokens": 2001}}, prices) is None
    nothing = {"input_tokens_details": {"text_tokens": 0, "image_tokens": 0}, "output_tokens": 0}
    assert cost_of_request({}, nothing, prices) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "must contain exactly the prices text_input, image_input, text_output, image_output"),
        (PRICES | {"video": 1}, "must contain exactly"),
        (3, "must contain exactly"),
        (PRICES | {"image_output": -1}, "token_prices.image_output must be a number from 0"),
        (PRICES | {"image_output": "30"}, "token_prices.image_output must be a number"),
        (PRICES | {"image_output": float("nan")}, "token_prices.image_output must be a number"),
    ],
)
def test_the_error_names_the_problem_of_a_price_of_tokens(value: Any, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        check_token_prices(value)
    with pytest.raises(BadOption, match=message):
        Gemini(model="m", api_key="k", token_prices=value)


# --- Gemini -----------------------------------------------------------------------------------------------------------


def _gemini_answer(**usage: Any) -> bytes:
    answer = gemini_server.image_answer("m", [gemini_server.image_part(image_file(64, 64))])
    return json.dumps(answer | {"usageMetadata": answer["usageMetadata"] | usage}).encode()


async def test_the_cost_of_an_image_from_gemini_is_calculated_from_the_prices_of_tokens() -> None:
    async with gemini_server.serving() as server:
        options: dict[str, Any] = {"base_url": server.url, "model": server.model, "api_key": server.key}
        assert await costs(Gemini(**options, token_prices=PRICES), batch_of(2)) == ["0.03874 USD"] * 2
        assert await costs(Gemini(**options), batch_of()) == NO_COSTS


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, (8, 0, 0, 1290)),
        ({"candidatesTokensDetails": None}, (8, 0, 0, 1290)),
        ({"candidatesTokenCount": 1300, "thoughtsTokenCount": 200}, (8, 0, 210, 1290)),
        ({"promptTokenCount": 600, "promptTokensDetails": [IMAGE_TOKENS]}, (40, 560, 0, 1290)),
        ({"candidatesTokenCount": 3}, None),
        ({"promptTokensDetails": [IMAGE_TOKENS]}, None),
    ],
)
def test_the_tokens_of_gemini_are_counted_by_type(usage: dict[str, Any], expected: tuple[int, ...] | None) -> None:
    tokens = read_image(_gemini_answer(**usage), ()).tokens
    counts = tokens and (tokens.text_input, tokens.image_input, tokens.text_output, tokens.image_output)
    assert counts == expected


@pytest.mark.parametrize("number", range(len(JSON_VALUES)))
def test_a_wrong_number_of_tokens_does_not_fail_an_image_from_gemini(number: int) -> None:
    value = JSON_VALUES[number]
    wrong = {"modality": "IMAGE", "tokenCount": value}
    for usage in (
        {"promptTokenCount": value},
        {"candidatesTokenCount": value},
        {"thoughtsTokenCount": value},
        {"candidatesTokensDetails": [wrong, {"modality": "IMAGE", "tokenCount": 1290}]},
        {"promptTokensDetails": [wrong]},
    ):
        assert read_image(_gemini_answer(**usage), ()).tokens is None
    for usage in ({"promptTokensDetails": value}, {"totalTokenCount": value}):
        assert read_image(_gemini_answer(**usage), ()).image is not None


# --- fal --------------------------------------------------------------------------------------------------------------


def fal(server: fal_server.FalServer) -> Fal:
    return Fal(**fal_options(server))


def fal_options(server: fal_server.FalServer) -> dict[str, Any]:
    return {"model": "fal-ai/flux-2", "api_key": server.key, "queue_url": server.url, "storage_url": server.url}


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("4", ["1.333334 units", "1.333333 units", "1.333333 units"]),
        ("3.1457", ["1.048567 units", "1.048567 units", "1.048566 units"]),
        (None, [None] * 3),
        *((value, [None] * 3) for value in HEADER_VALUES),
    ],
)
async def test_the_billed_units_of_fal_are_divided_among_the_images(
    units: str | None, expected: list[str | None]
) -> None:
    async with fal_server.serving(units=units) as server:
        assert await costs(fal(server), batch_of(3, open_order=RecordedOrder())) == expected


async def test_a_continued_request_of_fal_reports_the_same_shares() -> None:
    async with fal_server.serving(units="4") as server:
        order = RecordedOrder()
        engine = fal(server)
        async with aclosing(engine.generate(batch_of(3, open_order=order))) as events:  # type: ignore[type-var]
            first = [await anext(event async for event in events if isinstance(event, GeneratedImage))]
        rest = batch_of(3, open_order=order)
        later = Batch("task", rest.shots[1:], 3, rest.size, open_order=order)
        shares = costs_of(first) + await costs(engine, later)
    assert (server.submits, shares) == (1, ["1.333334 units", "1.333333 units", "1.333333 units"])


async def test_a_refused_image_of_fal_fails_as_before() -> None:
    def flagged(result: dict[str, Any]) -> dict[str, Any]:
        return result | {"has_nsfw_concepts": [True]}

    async with fal_server.serving(units="1", change=flagged) as server:
        with pytest.raises(Declined):
            await costs(fal(server), batch_of(open_order=RecordedOrder()))


# --- From the request to `framehouse usage` ---------------------------------------------------------------------------


@asynccontextmanager
async def _litellm() -> AsyncIterator[dict[str, Any]]:
    async with compatible_server.serving("litellm", headers={"x-litellm-response-cost": "0.1"}) as server:
        yield {"engine": "openai_images"} | recipe("litellm", server.url)


@asynccontextmanager
async def _xai() -> AsyncIterator[dict[str, Any]]:
    async with compatible_server.serving("xai") as server:
        yield {"engine": "openai_images"} | recipe("xai", server.url)


@asynccontextmanager
async def _misreported() -> AsyncIterator[dict[str, Any]]:
    async with compatible_server.serving("xai", usage={"cost_in_usd_ticks": -1}) as server:
        yield {"engine": "openai_images"} | recipe("xai", server.url)


@asynccontextmanager
async def _openai() -> AsyncIterator[dict[str, Any]]:
    async with openai_server.serving("openai", usage=GPT_USAGE) as server:
        kind = {"engine": "openai_images", "kind": "openai", "max_pixels": 262_144}
        yield kind | {"base_urls": [server.url], "model": "m", "token_prices": PRICES}


@asynccontextmanager
async def _gemini() -> AsyncIterator[dict[str, Any]]:
    async with gemini_server.serving() as server:
        options = {"base_url": server.url, "model": server.model, "api_key": server.key}
        yield {"engine": "gemini", "token_prices": PRICES} | options


@asynccontextmanager
async def _fal() -> AsyncIterator[dict[str, Any]]:
    async with fal_server.serving(units="4") as server:
        yield {"engine": "fal"} | fal_options(server)


@pytest.mark.parametrize(
    ("stand_in", "price", "expected"),
    [
        (_litellm(), {}, ("0.100000", "USD")),
        (_xai(), {"price": 0.5}, ("0.060000", "USD")),
        (_xai(), {"price": 0.5, "currency": "EUR"}, ("1.500000", "EUR")),
        (_misreported(), {"price": 0.5}, ("1.500000", "USD")),
        (_openai(), {}, ("0.064100", "USD")),
        (_gemini(), {}, ("0.116220", "USD")),
        (_fal(), {}, ("4.000000", "units")),
        (_fal(), {"price": 0.5}, ("1.500000", "USD")),
    ],
    ids=["litellm", "xai", "xai-other-currency", "misreported", "openai", "gemini", "fal", "fal-with-price"],
)
async def test_usage_shows_the_costs_that_the_service_has_reported(
    make_deployment: MakeDeployment,
    stand_in: AbstractAsyncContextManager[dict[str, Any]],
    price: dict[str, Any],
    expected: tuple[str, str],
) -> None:
    async with stand_in as route:
        deployment = await make_deployment(route | price)
        deployment.start_worker()
        ticket = await deployment.submit(n=3)
        task = await wait_for_task(deployment, ticket.task_id)
        assert task.status == "succeed", task
        shown = await asyncio.to_thread(run, "usage", "--json", FRAMEHOUSE_DATABASE_URL=deployment.db.url)
        (cost,) = json.loads(shown.stdout)["costs"]
        assert (cost["model"], cost["images"]) == (MODEL, 3)
        assert (f"{Decimal(str(cost['amount'])):.6f}", cost["currency"]) == expected
