"""The plan of a task: the prompt, framing, seed and batch of each shot, and the aspect ratio."""

from typing import Any

import pytest

from framehouse.domain.plan_shots import Plan, make_plan
from framehouse.domain.reference import SentImage
from framehouse.domain.shot import FRAMINGS
from framehouse.domain.task import ImageRequest


def plan(prompt: str, *, max_batch: int = 1, **fields: Any) -> Plan:
    return make_plan(ImageRequest(model="m", prompt=prompt, **fields), seed=7, max_batch=max_batch)


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("Create a three-frame product storyboard", 3),
        ("a fox", 4),
        ("20 frames", 9),
        ("Frame 1: a. Frame 2: b. Frame 3: c.", 3),
        ("a set of 5. Frame 1: a. Frame 2: b.", 5),
    ],
)
def test_auto_is_the_number_of_images_that_the_prompt_requests(prompt: str, count: int) -> None:
    auto = plan(prompt, result_type="series", amount=None)
    assert [shot.index for shot in auto.shots] == list(range(count))


def test_a_listed_shot_gets_the_shared_text_and_its_own_text() -> None:
    series = plan("A red bottle. Frame 1: on sand. Frame 2: in rain.", result_type="series", amount=None)
    assert [shot.prompt for shot in series.shots] == ["A red bottle. on sand.", "A red bottle. in rain."]


def test_the_list_repeats_if_there_are_more_images_than_listed_shots() -> None:
    series = plan("A bottle. Frame 1: on sand. Frame 2: in rain.", result_type="series", amount=3)
    assert series.shots[2].prompt == series.shots[0].prompt == "A bottle. on sand."
    assert series.shots[2].framing != series.shots[0].framing


def test_a_series_varies_its_framing_over_one_subject() -> None:
    series = plan("a fox", result_type="series", amount=9)
    assert [shot.framing for shot in series.shots[:6]] == list(FRAMINGS)
    assert {shot.prompt for shot in series.shots} == {"a fox"}


def test_seeds_are_consecutive_so_that_a_single_image_can_be_generated_again() -> None:
    assert [shot.seed for shot in plan("a fox", amount=3).shots] == [7, 8, 9]
    assert plan("a fox", amount=3) == plan("a fox", amount=3)


def test_batches_cover_every_shot_once() -> None:
    assert plan("a fox", amount=9, max_batch=4).batches == ((0, 1, 2, 3), (4, 5, 6, 7), (8,))


def test_the_automatic_aspect_ratio_depends_on_prompt_and_result_type() -> None:
    assert plan("a fox", amount=1).ratio == "1:1"
    assert plan("a fox", result_type="series", amount=None).ratio == "16:9"
    assert plan("竖屏", amount=1).ratio == "9:16"
    assert plan("竖屏", amount=1, ratio="4:3").ratio == "4:3"
    assert plan("a fox", amount=1, images=(SentImage("image", "https://example.com/a.png"),)).ratio == "auto"
