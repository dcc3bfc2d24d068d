"""The rules for masks: which requests may have a mask, which sizes fit, and which routes can use a mask."""

import itertools
from dataclasses import replace

import pytest

from framehouse.domain.aspect_ratio import ratio_of_request
from framehouse.domain.mask import mask_problems, mask_size_problem, split_mask
from framehouse.domain.model import Catalog, Model
from framehouse.domain.outcome import Fail
from framehouse.domain.plan_shots import make_plan
from framehouse.domain.reference import ReferenceRole, SentImage
from framehouse.domain.request import read_request
from framehouse.domain.routing import RouteResult, RouteState, choose_routes
from framehouse.domain.task import ImageRequest
from framehouse.domain.task_kind import TASK_KINDS

MODEL = Model("m")
MASK = SentImage("mask", "https://example.com/mask.png", "mask")
EDIT = ImageRequest("m", "a hat", images=(SentImage("image[0]", "https://example.com/1.png"), MASK))


def sent(*roles: ReferenceRole) -> tuple[SentImage, ...]:
    return tuple(SentImage(f"image[{n}]", f"https://example.com/{n}.png", role) for n, role in enumerate(roles))


@pytest.mark.parametrize("roles", [(), ("",), ("", "style"), ("mask",), ("", "mask"), ("", "", "mask"), ("mask", "")])
def test_a_mask_is_separate_from_the_references(roles: tuple[ReferenceRole, ...]) -> None:
    references, mask = split_mask(images := sent(*roles))
    assert [image.role for image in references] == [role for role in roles if role != "mask"]
    assert (mask is not None) == ("mask" in roles)
    assert mask is None or mask in images


def test_a_mask_needs_an_image_a_single_result_and_a_model_that_uses_masks() -> None:
    unable = replace(MODEL, masks=False)
    assert mask_problems(EDIT, MODEL) == mask_problems(EDIT, None) == []
    assert mask_problems(replace(EDIT, images=EDIT.images[:1]), unable) == []
    cases = {
        "mask cannot be used with m, because none of its engines can use a mask": mask_problems(EDIT, unable),
        "mask needs an image to edit, but the request contains no image": mask_problems(
            replace(EDIT, images=(MASK,)), MODEL
        ),
        "mask was sent more than once; a request can contain one mask": mask_problems(
            replace(EDIT, images=(*EDIT.images, MASK)), MODEL
        ),
        "mask cannot be used for a series or for another kind of task": mask_problems(
            replace(EDIT, result_type="series"), MODEL
        ),
    }
    for problem, found in cases.items():
        assert found == [problem]
    for kind in TASK_KINDS:
        assert bool(mask_problems(replace(EDIT, kind=kind), MODEL)) == (kind not in ("omni-image", "generations"))


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [(1024, 1024), (1025, 769), (4032, 3024), (3001, 2251), (750, 300)])
def test_a_mask_of_the_same_aspect_ratio_fits_although_its_sides_are_rounded(
    size: tuple[int, int], divisor: int
) -> None:
    for rounded in (round, int):
        smaller = (max(1, rounded(size[0] / divisor)), max(1, rounded(size[1] / divisor)))
        assert not mask_size_problem(smaller, size)
        assert not mask_size_problem(size, smaller)


@pytest.mark.parametrize("mask", [(1024, 768), (768, 1024), (1024, 1026), (512, 515)])
def test_a_mask_of_another_aspect_ratio_is_refused(mask: tuple[int, int]) -> None:
    problem = mask_size_problem(mask, (1024, 1024))
    assert problem.startswith(f"is {mask[0]}x{mask[1]} px, but the first image is 1024x1024 px")


def test_a_mask_counts_neither_for_the_prompts_nor_for_the_aspect_ratio() -> None:
    roles: tuple[ReferenceRole, ...] = ("style", "subject", "mask")
    with_mask, without = replace(EDIT, images=sent(*roles)), replace(EDIT, images=sent(*roles[:2]))
    plans = [make_plan(request, seed=1, max_batch=1) for request in (with_mask, without)]
    assert plans[0] == plans[1]
    only_mask = replace(EDIT, prompt="a hat of <<<image_2>>>")
    assert ratio_of_request(only_mask) == "auto", "the first reference determines the ratio"
    assert ratio_of_request(replace(only_mask, images=(MASK,))) == "1:1"


def outcome_with(routes: list[RouteState], references: int) -> str | Fail:
    """Return the first route that is tried for a batch with a mask, or the outcome if no route is tried."""
    steps = choose_routes(routes, model="m", references=references, masked=True)
    try:
        return next(steps)
    except StopIteration as end:
        assert isinstance(end.value, Fail)
        return end.value


@pytest.mark.parametrize("limits", list(itertools.product((0, 1, 10), repeat=3)))
@pytest.mark.parametrize("references", [1, 2, 10])
def test_a_batch_with_a_mask_uses_the_first_route_that_can(limits: tuple[int, ...], references: int) -> None:
    routes = [RouteState(f"r{n}", 10, masked_references=limit) for n, limit in enumerate(limits)]
    able = next((route.name for route in routes if references <= route.masked_references), None)
    outcome = outcome_with(routes, references)
    if able:
        assert outcome == able
    else:
        assert isinstance(outcome, Fail)
        last = limits[-1]
        assert outcome.reason == (
            f"m accepts at most {last} reference together with a mask, but {references} were sent"
            if last
            else "r2 cannot use a mask"
        )


def test_the_limit_without_a_mask_does_not_depend_on_masks() -> None:
    steps = choose_routes([RouteState("a", 3, masked_references=0)], model="m", references=3)
    assert next(steps) == "a"
    with pytest.raises(StopIteration):
        steps.send(RouteResult())


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_no_field_of_the_kling_api_sends_a_mask(kind: str) -> None:
    url = "https://example.com/1.png"
    entry = {"image": url, "role": "mask", "type": "mask", "mask": url, "subject_image": url}
    body = dict.fromkeys(("image", "mask", "scene_image", "style_image", "human_image", "cloth_image"), url)
    lists = {name: [entry] for name in ("image_list", "subject_image_list", "mask_list")}
    request, _ = read_request(
        body | lists | {"model_name": "m", "prompt": "a", "role": "mask", "image_reference": "mask"},
        Catalog([MODEL]),
        kind,  # type: ignore[arg-type]
    )
    assert request.images
    assert all(image.role != "mask" for image in request.images)
