from typing import Any

import pytest

from framehouse.domain.plan_shots import Plan, make_plan
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
def test_auto_takes_the_number_that_the_prompt_asks_for(prompt: str, count: int) -> None:
    made = plan(prompt, result_type="series", amount=None)
    assert [shot.index for shot in made.shots] == list(range(count))


def test_listed_shots_get_their_own_words_and_the_shared_ones() -> None:
    made = plan("A red bottle. Frame 1: on sand. Frame 2: in rain.", result_type="series", amount=None)
    assert [shot.prompt for shot in made.shots] == ["A red bottle. on sand.", "A red bottle. in rain."]


def test_more_pictures_than_listed_shots_go_round_the_list() -> None:
    made = plan("A bottle. Frame 1: on sand. Frame 2: in rain.", result_type="series", amount=3)
    assert made.shots[2].prompt == made.shots[0].prompt == "A bottle. on sand."
    assert made.shots[2].framing != made.shots[0].framing


def test_a_series_varies_its_framing_over_one_subject() -> None:
    made = plan("a fox", result_type="series", amount=9)
    assert [shot.framing for shot in made.shots[:6]] == list(FRAMINGS)
    assert {shot.prompt for shot in made.shots} == {"a fox"}


def test_seeds_count_up_so_that_one_picture_can_be_asked_for_again() -> None:
    assert [shot.seed for shot in plan("a fox", amount=3).shots] == [7, 8, 9]
    assert plan("a fox", amount=3) == plan("a fox", amount=3)


def test_batches_cover_every_shot_once() -> None:
    assert plan("a fox", amount=9, max_batch=4).batches == ((0, 1, 2, 3), (4, 5, 6, 7), (8,))


def test_auto_shape() -> None:
    assert plan("a fox", amount=1).ratio == "1:1"
    assert plan("a fox", result_type="series", amount=None).ratio == "16:9"
    assert plan("竖屏", amount=1).ratio == "9:16"
    assert plan("竖屏", amount=1, ratio="4:3").ratio == "4:3"
    assert plan("a fox", amount=1, images=("https://example.com/a.png",)).ratio == "auto"
