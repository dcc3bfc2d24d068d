"""The engine `kling`: its requests, its reaction to each response, and that it never places an order twice."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any, get_args

import pytest

from framehouse.domain.errors import Declined, Unavailable, Unknown
from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.model import Model
from framehouse.domain.reference import ReferenceRole
from framehouse.domain.sizes import size_of
from framehouse.domain.task import NO_OPTIONS, RequestOptions
from framehouse.domain.task_kind import TaskKind
from framehouse.engines.interface import (
    Batch,
    BatchLost,
    Engine,
    GeneratedImage,
    Progress,
    ReferenceImage,
    SavedElement,
)
from framehouse.engines.kling import Kling
from framehouse.engines.registry import BadRoute, open_registry
from framehouse.testing.engine_contract import EngineContract, generate, images
from tests.support.eventually import eventually
from tests.support.image_files import image_file
from tests.support.kling_orders import KlingRecord, generate_and_close, kling, task
from tests.support.kling_upstream import Upstream, upstream


@pytest.fixture
async def served() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


class TestKling(EngineContract):
    @pytest.fixture
    async def engine(self, served: Upstream) -> AsyncIterator[Engine]:
        served.seconds = 0.05
        engine = kling(served)
        yield engine
        await engine.close()


async def test_a_whole_task_is_one_order_with_its_own_prompt(served: Upstream) -> None:
    prompt = "Frame 1: a fox at <<<image_1>>>. Frame 2: it sleeps by the <<<element_1>>>."
    bag = SavedElement("Bag", "A red bag", (ReferenceImage(image_file(), 400, 300),) * 2)
    place = ReferenceImage(image_file(500, 400), 500, 400)
    series = replace(
        task(shots=2, prompt=prompt, series=True), references=(place,), elements=(bag,), size=size_of("16:9", "2k")
    )
    engine = kling(served, model="kling-v3-omni")
    generated = images(await generate(engine, series))
    await engine.close()
    assert sorted(p.index for p in generated) == [0, 1]
    (sent,) = served.posts
    assert [len(image["image"]) > 100 for image in sent.pop("image_list")] == [True] * 3
    assert sent.pop("external_task_id").startswith("fh-")
    assert sent == {
        "model_name": "kling-v3-omni",
        "prompt": "Frame 1: a fox at <<<image_1>>>. Frame 2: it sleeps by the Bag (<<<image_2>>>, <<<image_3>>>). "
        "Bag: A red bag.",
        "resolution": "2k",
        "aspect_ratio": "16:9",
        "result_type": "series",
        "series_amount": 2,
    }


async def test_the_remaining_shots_of_a_series_are_ordered_with_their_own_prompts(served: Upstream) -> None:
    series = task(shots=4, series=True)
    remaining = replace(series, shots=series.shots[2:], first_frame=ReferenceImage(image_file(), 400, 300))
    engine = kling(served)
    assert {p.index for p in images(await generate(engine, remaining))} == {2, 3}
    await engine.close()
    assert [(post["result_type"], post["n"], len(post["image_list"])) for post in served.posts] == [
        ("single", 1, 1)
    ] * 2
    assert [post["prompt"].partition(". ")[2] for post in served.posts] == [
        "Close-up. Same people, things, place and style as in <<<image_1>>>.",
        "Over-the-shoulder shot. Same people, things, place and style as in <<<image_1>>>.",
    ]


async def test_images_are_sorted_by_their_index_and_not_by_their_place_in_the_answer(served: Upstream) -> None:
    engine = kling(served)
    generated = images(await generate(engine, task(shots=3)))
    await engine.close()
    assert [int(p.pixels[0, 0, 2]) for p in sorted(generated, key=lambda p: p.index)] == [0, 20, 40]


async def test_an_order_is_saved_before_it_is_sent(served: Upstream) -> None:
    open_order, ids = KlingRecord(), []
    served.on_post = lambda body: ids.append((body["external_task_id"], open_order.orders[0]["external_id"]))
    engine = kling(served)
    await generate(engine, task(open_order=open_order))
    await engine.close()
    assert len(ids) == 1
    assert ids[0][0] == ids[0][1]
    assert [order["task_id"] for data in open_order.saved for order in data["orders"]] == ["", "up-0"]


LOST_ANSWERS = [
    "cut",
    "half",
    "delay",
    "html",
    "nonsense",
    "no id",
    "503 5001",
    "500 5000",
    "doubled",
    "answered twice",
]


@pytest.mark.parametrize("fault", LOST_ANSWERS)
@pytest.mark.parametrize("by_external", [True, False])
async def test_an_order_with_a_lost_answer_is_looked_up_and_not_placed_again(
    served: Upstream, fault: str, by_external: bool
) -> None:
    served.finds_external = by_external
    served.fault = lambda method, _: fault if method == "POST" else ""
    engine = kling(served, answer_s=0.5 if fault == "delay" else 30)
    assert len(images(await generate(engine, task(open_order=KlingRecord())))) == 1
    await engine.close()
    assert len(served.posts) == (2 if fault == "doubled" else 1)
    assert list(served.generated.values()) == [1]


@pytest.mark.parametrize("fault", ["before cut", "before html", "before 503 5001"])
async def test_an_order_that_never_arrived_is_given_up_and_released_for_other_routes(
    served: Upstream, fault: str
) -> None:
    served.fault = lambda method, _: fault if method == "POST" else ""
    open_order, engine = KlingRecord(), kling(served)
    with pytest.raises(Unavailable, match="not sent again"):
        await generate(engine, task(open_order=open_order))
    assert not open_order.data
    assert "not sent again" in open_order.given_up
    assert served.posts == []
    await engine.close()


async def test_an_order_may_be_sent_twice_to_an_upstream_that_rejects_duplicates(served: Upstream) -> None:
    faults = iter(["before cut", "late"])
    served.fault = lambda method, _: next(faults, "") if method == "POST" else ""
    served.delay_s = 0.6
    engine = kling(served, resubmit=True)
    assert len(images(await generate(engine, task(open_order=KlingRecord())))) == 1
    await engine.close()
    assert list(served.generated.values()) == [1]


async def test_an_order_stays_open_while_the_upstream_cannot_be_queried(
    served: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.kling.order_steps._MAX_OUTAGE_S", 0.3)
    served.fault = lambda method, _: "cut" if method == "POST" else "before html"
    open_order, engine = KlingRecord(), kling(served)
    with pytest.raises(Unknown):
        await generate(engine, task(open_order=open_order))
    assert open_order.data
    served.fault = lambda *_: ""
    assert len(images(await generate(engine, task(open_order=KlingRecord(open_order.data))))) == 1
    assert len(served.posts) == 1
    await engine.close()


@pytest.mark.parametrize("fault", ["cut", "before html", "nonsense", "half", "before 401 1002", "before 400 1201"])
async def test_a_failed_poll_does_not_fail_a_task(served: Upstream, fault: str) -> None:
    polls = iter([fault] * 5)
    served.fault = lambda method, path: next(polls, "") if method == "GET" and "up-" in path else ""
    engine = kling(served)
    assert len(images(await generate(engine, task(open_order=KlingRecord())))) == 1
    await engine.close()
    assert len(served.posts) == 1


@pytest.mark.parametrize("fault", ["before cut", "half", "before 404 1203", "nonsense"])
async def test_a_failed_download_is_repeated_without_another_order(served: Upstream, fault: str) -> None:
    fetches = iter([fault] * 3)
    served.fault = lambda _, path: next(fetches, "") if path.startswith("/images/") else ""
    engine = kling(served)
    assert len(images(await generate(engine, task(shots=2, open_order=KlingRecord())))) == 2
    await engine.close()
    assert len(served.posts) == 1


async def test_images_at_private_addresses_of_other_hosts_are_not_fetched(served: Upstream) -> None:
    engine = kling(served)
    served.url = served.url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(Unknown, match="private"):
        await generate(engine, task(open_order=KlingRecord()))
    await engine.close()


@pytest.mark.parametrize(
    ("prompt", "reason"), [("refuse this", "refused content"), ("fail this", "it did not work out")]
)
async def test_a_refusal_is_final_and_its_reason_is_reported(served: Upstream, prompt: str, reason: str) -> None:
    engine = kling(served)
    with pytest.raises(Declined, match=reason):
        await generate(engine, task(prompt=prompt, open_order=KlingRecord()))
    await engine.close()
    assert len(served.posts) == 1


async def test_orders_wait_for_a_full_account_and_its_limit_is_learned() -> None:
    async with upstream(accounts={"key": 2}, seconds=0.3) as served:
        engine = kling(served, {"api_key": "key", "concurrency": 50})
        answers = await asyncio.gather(
            *(generate(engine, replace(task(open_order=KlingRecord()), task_id=f"t{n}")) for n in range(8))
        )
        assert [len(images(events)) for events in answers] == [1] * 8
        refused = len(served.posts) - 8
        (account,) = engine._accounts.all
        assert account.limit in (2, 3)
        assert refused <= 14
        await engine.close()
        assert set(served.generated.values()) == {1}


async def test_an_order_is_not_open_after_a_full_account_refused_it(served: Upstream) -> None:
    faults = iter(["before 429 1303", "before 429 1302", "before 200 1303"])
    served.fault = lambda method, _: next(faults, "") if method == "POST" else ""
    open_order, engine = KlingRecord(), kling(served)
    assert len(images(await generate(engine, task(open_order=open_order)))) == 1
    await engine.close()
    assert [len(data.get("orders", [])) for data in open_order.saved] == [1, 0] * 3 + [1, 1]


async def test_accounts_share_the_load_and_an_order_stays_with_its_account() -> None:
    async with upstream(accounts={"one": 3, "two": 6}, seconds=3600) as served:
        engine = kling(served, {"api_key": "one", "concurrency": 3}, {"api_key": "two", "concurrency": 6})
        generating = asyncio.gather(
            *(generate(engine, replace(task(open_order=KlingRecord()), task_id=f"t{n}")) for n in range(18))
        )

        async def both_full() -> bool:
            return len(served.tasks) == 9

        await eventually(both_full)
        served.seconds = 0.2
        for accepted in served.tasks.values():
            accepted.ends_at = 0
        await generating
        await engine.close()
        assert len(served.posts) == 18
        assert served.max_in_flight == {"one": 3, "two": 6}


async def test_another_account_is_used_while_an_account_without_balance_cools_down() -> None:
    async with upstream(accounts={"one": 9, "two": 9}) as served:
        served.without_balance = {"one"}
        engine = kling(served, {"api_key": "one", "name": "a"}, {"api_key": "two", "name": "b"})
        for n in range(3):
            await generate(engine, replace(task(open_order=KlingRecord()), task_id=f"t{n}"))
        assert len(served.posts) <= 4
        assert {order.account for order in served.tasks.values()} == {"two"}
        checks = {check.subject.split()[1]: check for check in await engine.check()}
        assert (checks["a"].ok, checks["b"].ok) == (False, True)
        assert "balance" in checks["a"].reason
        await engine.close()


async def test_the_route_is_unavailable_if_no_account_can_be_used(served: Upstream) -> None:
    open_order, engine = KlingRecord(), kling(served, {"api_key": "wrong", "name": "a"})
    with pytest.raises(Unavailable, match="account a: the upstream refuses the account"):
        await generate(engine, task(open_order=open_order))
    assert not open_order.data
    assert not open_order.given_up
    (check,) = await engine.check()
    assert not check.ok
    await engine.close()


async def test_an_unreachable_upstream_is_unavailable() -> None:
    engine = Kling(base_url="http://127.0.0.1:9", accounts=[{"api_key": "key"}])
    with pytest.raises(Unavailable, match="cannot be reached"):
        await generate(engine, task(open_order=KlingRecord()))
    await engine.close()


async def test_an_access_key_signs_a_token(served: Upstream) -> None:
    served.accounts = {"access": 9}
    engine = kling(served, {"access_key": "access", "secret_key": "secret of access".ljust(32)})
    assert len(images(await generate(engine, task()))) == 1
    await engine.close()


async def test_another_engine_object_resumes_an_open_order(served: Upstream) -> None:
    open_order, engine = KlingRecord(), kling(served)
    three_shots = task(shots=3, open_order=open_order)
    async with aclosing(engine.generate(three_shots)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, GeneratedImage):
                break
    await engine.close()
    other_engine = kling(served)
    remaining = replace(three_shots, shots=three_shots.shots[1:], open_order=KlingRecord(open_order.data))
    assert {p.index for p in images(await generate(other_engine, remaining))} == {1, 2}
    await other_engine.close()
    assert len(served.posts) == 1


async def test_an_order_waits_for_its_account_if_the_account_is_not_configured_any_more(served: Upstream) -> None:
    open_order, engine = KlingRecord(), kling(served)
    await generate(engine, task(open_order=open_order))
    await engine.close()
    other = kling(served, {"api_key": "other"})
    with pytest.raises(Unknown, match="no longer configured"):
        await generate(other, task(open_order=KlingRecord(open_order.data)))
    await other.close()
    assert len(served.posts) == 1


async def test_no_order_is_placed_for_a_lost_batch(served: Upstream) -> None:
    open_order, engine = KlingRecord(), kling(served)
    open_order.lost_at = 1
    with pytest.raises(BatchLost):
        await generate(engine, task(open_order=open_order))
    await engine.close()
    assert served.posts == []


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_order_is_cancelled_upstream_only_if_its_images_are_not_wanted(served: Upstream, wanted: bool) -> None:
    served.seconds = 60
    open_order, engine = KlingRecord(), kling(served)
    open_order.wanted = wanted
    generating = asyncio.create_task(generate(engine, task(open_order=open_order)))

    async def order_accepted() -> bool:
        return bool(open_order.orders and open_order.orders[0]["task_id"])

    await eventually(order_accepted)
    generating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generating
    await engine.close()
    assert served.cancelled == ([] if wanted else ["up-0"])
    assert engine._accounts.all[0].in_flight == 0


async def test_nine_images_are_several_orders_if_an_account_allows_four(served: Upstream) -> None:
    engine = kling(served, {"api_key": "key", "concurrency": 4})
    open_order = KlingRecord()
    events = await generate(engine, task(shots=9, open_order=open_order))
    await engine.close()
    assert sorted(p.index for p in images(events)) == list(range(9))
    assert [post["n"] for post in served.posts] == [4, 4, 1]
    shares = [event.share for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)


async def test_a_prompt_is_cut_to_the_limit_of_the_upstream(served: Upstream) -> None:
    engine = kling(served)
    prompt = "<<<element_1>>>" * 166
    bag = SavedElement("A bag of a long name", "x" * 100, (ReferenceImage(image_file(), 400, 300),))
    await generate(engine, replace(task(prompt=prompt), elements=(bag,)))
    await engine.close()
    assert len(served.posts[0]["prompt"]) == 2500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "ftp://x"}, "base_url must be an http"),
        ({"base_url": 3}, "base_url must be text"),
        ({"accounts": []}, "accounts must contain an account"),
        ({"accounts": "key"}, "accounts must be a list"),
        ({"accounts": [{"key": "x"}]}, "no option key"),
        ({"accounts": [{"access_key": "x"}]}, "needs either api_key"),
        ({"accounts": [{"api_key": "x", "concurrency": 0}]}, "concurrency must be"),
        ({"accounts": [{"api_key": "x"}, {"api_key": "x"}]}, "same key or name"),
        ({"accounts": [{"api_key": "x\n"}]}, "ASCII text"),
        ({"answer_s": 0}, "answer_s must be"),
        ({"speed": 1}, 'kling has no option "speed"; its options are accounts, '),
    ],
)
def test_the_error_names_the_bad_option(options: dict[str, object], message: str) -> None:
    route = {"engine": "kling", "base_url": "https://x.example/kling", "accounts": [{"api_key": "k"}]} | options
    with pytest.raises(BadRoute, match=message):
        open_registry([(Model("m"), [route])])


def file_of(role: ReferenceRole) -> ReferenceImage:
    return ReferenceImage(image_file(400 + len(role), 300), 400 + len(role), 300, role)


def kind_of_task(kind: TaskKind, roles: tuple[ReferenceRole, ...], options: RequestOptions = NO_OPTIONS) -> Batch:
    whole = replace(task(prompt="with @image1"), kind=kind, options=options, references=tuple(map(file_of, roles)))
    if options.expansion:
        size, box = layout(options.expansion, 400 + len("original"), 300)
        return replace(whole, size=size, box=box)
    return whole


EXPANSION = RequestOptions(expansion=Expansion(0.1, 0.2, 0.3, 0.4))
TASKS: dict[TaskKind, tuple[Batch, dict[str, Any]]] = {
    "generations": (
        kind_of_task("generations", ("face",), RequestOptions("rain", 0.7, None)),
        {"image": "face", "image_reference": "face", "negative_prompt": "rain", "image_fidelity": 0.7, "n": 1}
        | {"prompt": "with <<<image_1>>>", "resolution": "1k", "aspect_ratio": "1:1"},
    ),
    "multi-image2image": (
        kind_of_task("multi-image2image", ("subject", "scene", "style")),
        {"subject_image_list": [{"subject_image": "subject"}], "scene_image": "scene", "style_image": "style", "n": 1}
        | {"prompt": "with <<<image_1>>>", "aspect_ratio": "1:1"},
    ),
    "expand": (
        kind_of_task("expand", ("original",), EXPANSION),
        {"image": "original", "n": 1, "prompt": "with <<<image_1>>>"}
        | {f"{side}_expansion_ratio": ratio for side, ratio in asdict(EXPANSION.expansion).items()},  # type: ignore[arg-type]
    ),
    "try-on": (kind_of_task("try-on", ("human", "cloth")), {"human_image": "human", "cloth_image": "cloth"}),
}


def with_files(value: Any) -> Any:
    """Replace the name of each role with the file of its reference, as base64."""
    roles: dict[str, ReferenceRole] = {role: role for role in get_args(ReferenceRole) if role}
    match value:
        case str() if value in roles:
            return b64encode(file_of(roles[value]).content).decode()
        case list():
            return [with_files(item) for item in value]
        case dict():
            return {name: item if name == "image_reference" else with_files(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize("kind", TASKS)
async def test_each_kind_is_ordered_at_its_own_endpoint_with_its_own_fields(served: Upstream, kind: TaskKind) -> None:
    whole, expected = TASKS[kind]
    order = KlingRecord()
    assert len(images(await generate_and_close(kling(served), replace(whole, open_order=order)))) == 1
    (body,) = served.posts
    assert body.pop("external_task_id").startswith("fh-")
    assert body.pop("model_name", None) == (None if kind == "expand" else "m")
    assert body == with_files(expected)
    (accepted,) = served.tasks.values()
    assert accepted.kind == kind
    assert order.saved[0]["orders"][0]["kind"] == kind


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("finds_external", [True, False])
async def test_an_order_of_each_kind_with_a_lost_answer_is_looked_up(kind: TaskKind, finds_external: bool) -> None:
    faults = iter(["cut"])

    def fault(method: str, _path: str) -> str:
        return next(faults, "") if method == "POST" else ""

    async with upstream(fault=fault, finds_external=finds_external) as served:
        whole = replace(TASKS[kind][0], open_order=KlingRecord())
        assert len(images(await generate_and_close(kling(served), whole))) == 1
        assert len(served.posts) == 1


async def test_a_saved_order_of_an_older_release_is_an_omni_image_order(served: Upstream) -> None:
    order = KlingRecord()
    await generate_and_close(kling(served), task(open_order=order))
    saved = order.saved[-1]["orders"][0]
    older = KlingRecord({"orders": [{name: value for name, value in saved.items() if name != "kind"}]})
    assert len(images(await generate_and_close(kling(served), task(open_order=older)))) == 1
    assert len(served.posts) == 1


async def test_several_references_of_a_generation_are_a_list(served: Upstream) -> None:
    whole = kind_of_task("generations", ("subject", "subject"))
    await generate_and_close(kling(served, model="up"), replace(whole, open_order=KlingRecord()))
    assert len(served.posts[0]["image"]) == 2
    assert served.posts[0]["model_name"] == "up"
