"""Requests to the endpoints other than omni-image: defaults, limits, roles of references, and errors."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framehouse.domain.errors import Refused
from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.model import Catalog, Model
from framehouse.domain.plan_shots import make_plan
from framehouse.domain.reference import SentImage
from framehouse.domain.request import parse_request
from framehouse.domain.task import ImageRequest, RequestOptions
from framehouse.domain.task_kind import TASK_KINDS, TaskKind

URL = "https://example.com/a.png"
MODELS = Catalog(
    [
        Model("kling-v3-omni", kinds=("omni-image", "generations")),
        Model("kling-v3", resolutions=("1k", "2k"), kinds=("generations",)),
        Model("kling-v2-1", resolutions=("1k", "2k"), kinds=("generations", "multi-image2image")),
        Model("kling-expand", kinds=("expand",)),
        Model("kolors-virtual-try-on-v1", kinds=("try-on",)),
    ]
)
MINIMAL: dict[TaskKind, dict[str, Any]] = {
    "omni-image": {"model_name": "kling-v3-omni", "prompt": "a fox"},
    "generations": {"prompt": "a fox"},
    "multi-image2image": {"subject_image_list": [{"subject_image": URL}]},
    "expand": {"image": URL, "up_expansion_ratio": 0.5},
    "try-on": {"human_image": URL, "cloth_image": URL},
}


def parse(kind: TaskKind, models: Catalog = MODELS, **fields: Any) -> ImageRequest:
    return parse_request(MINIMAL[kind] | fields, models, kind)


def problem(kind: TaskKind, **fields: Any) -> str:
    with pytest.raises(Refused) as error:
        parse(kind, **fields)
    assert error.value.code == 1201
    return error.value.message


def test_minimal_requests_get_the_defaults() -> None:
    assert parse("generations") == ImageRequest(kind="generations", model="kling-v3", prompt="a fox", ratio="16:9")
    assert parse("multi-image2image") == ImageRequest(
        kind="multi-image2image",
        model="kling-v2-1",
        prompt="",
        images=(SentImage("subject_image_list[0].subject_image", URL, "subject"),),
        ratio="16:9",
    )
    assert parse("expand") == ImageRequest(
        kind="expand",
        model="kling-expand",
        prompt="",
        images=(SentImage("image", URL, "original"),),
        options=RequestOptions(expansion=Expansion(up=0.5)),
    )
    assert parse("try-on") == ImageRequest(
        kind="try-on",
        model="kolors-virtual-try-on-v1",
        prompt="",
        images=(SentImage("human_image", URL, "human"), SentImage("cloth_image", URL, "cloth")),
    )


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_null_and_empty_mean_absent(kind: TaskKind) -> None:
    names = (
        "negative_prompt image_list element_list resolution aspect_ratio n watermark_info callback_url "
        "external_task_id image_reference image_fidelity human_fidelity scene_image style_image down_expansion_ratio"
    ).split()
    for absent in (None, ""):
        assert parse(kind, **dict.fromkeys(names, absent)) == parse(kind)


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_all_kinds_have_the_common_fields(kind: TaskKind) -> None:
    request = parse(
        kind, watermark_info={"enabled": True}, callback_url=URL, external_task_id=" mine ", seed=7, unknown={"x": 1}
    )
    assert (request.watermark, request.callback_url, request.external_task_id, request.seed) == (True, URL, "mine", 7)
    message = problem(kind, watermark_info=3, callback_url="ftp://x", external_task_id="x" * 256)
    for name in ("watermark_info", "callback_url", "external_task_id"):
        assert name in message


@pytest.mark.parametrize("kind", ["generations", "multi-image2image", "expand"])
def test_n_is_from_1_to_9(kind: TaskKind) -> None:
    assert parse(kind, n="9").amount == 9
    for wrong in (0, 10, 1.5, True, "x"):
        assert problem(kind, n=wrong).startswith("n must be")


@pytest.mark.parametrize("kind", ["generations", "multi-image2image"])
def test_aspect_ratios(kind: TaskKind) -> None:
    assert parse(kind, aspect_ratio=" 21:9 ").ratio == "21:9"
    assert parse(kind, aspect_ratio="auto").ratio == "auto"
    assert problem(kind, aspect_ratio="5:4").startswith("aspect_ratio must be one of 16:9")


def test_a_generation_has_a_negative_prompt_and_fidelities() -> None:
    request = parse(
        "generations",
        negative_prompt=" people ",
        image=URL,
        image_reference="Face",
        image_fidelity="0.7",
        human_fidelity=1,
    )
    assert request.options == RequestOptions("people", 0.7, 1.0)
    assert request.images == (SentImage("image", URL, "face"),)
    assert problem("generations", negative_prompt="x" * 2501).startswith("negative_prompt has 2501 characters")
    for wrong in (-0.1, 1.1, "x", True, [0.5], float("nan"), 10**400):
        assert problem("generations", image_fidelity=wrong).startswith("image_fidelity must be a number from 0 to 1")
        assert problem("generations", human_fidelity=wrong).startswith("human_fidelity must be a number from 0 to 1")


def test_a_generation_is_checked_as_omni_image_is() -> None:
    assert problem("generations", image_reference="subject") == "image is required if image_reference is set"
    assert problem("generations", image_reference="cat", image=URL).startswith("image_reference must be one of")
    assert problem("generations", prompt="") == "prompt is required and must not be empty"
    assert problem("generations", prompt="<<<image_2>>>", image=URL) == (
        "prompt cites <<<image_2>>>, but 1 image and 0 elements were sent"
    )
    assert parse("generations", image=[URL, {"image": URL}]).images[1].field == "image[1].image"
    assert problem("generations", image=URL, element_list=[{"element_id": 1}] * 10).startswith(
        "image and element_list have 11 entries"
    )
    assert parse("generations", resolution="2K").resolution == "2k"
    assert problem("generations", resolution="4k") == 'resolution must be one of 1k, 2k, not "4k"'
    assert parse("generations", model_name="kling-v3-omni", resolution="4k").resolution == "4k"


def test_a_combination_has_one_to_four_subjects_a_scene_and_a_style() -> None:
    request = parse(
        "multi-image2image",
        subject_image_list=[{"subject_image": URL}, URL, {"image": URL}, {"url": URL}],
        scene_image={"scene_image": URL},
        style_image=URL,
        prompt="they dance",
    )
    assert [image.role for image in request.images] == ["subject"] * 4 + ["scene", "style"]
    assert [image.field for image in request.images] == [
        "subject_image_list[0].subject_image",
        "subject_image_list[1]",
        "subject_image_list[2].image",
        "subject_image_list[3].url",
        "scene_image.scene_image",
        "style_image",
    ]
    wrong_lists: tuple[Any, ...] = (None, [], [URL] * 5, URL, {})
    for wrong in wrong_lists:
        assert problem("multi-image2image", subject_image_list=wrong).startswith(
            "subject_image_list is required and must be a list of 1 to 4 images"
        )
    assert problem("multi-image2image", subject_image_list=[{}]) == (
        "subject_image_list[0].subject_image is required and must not be empty"
    )
    assert problem("multi-image2image", prompt="x" * 2501).startswith("prompt has 2501 characters")


def test_the_prompt_of_the_engine_names_the_roles() -> None:
    request = parse(
        "multi-image2image", subject_image_list=[URL, URL], scene_image=URL, style_image=URL, prompt="They dance"
    )
    assert make_plan(request, seed=1, max_batch=1).shots[0].prompt == (
        "They dance. Subject: <<<image_1>>> and <<<image_2>>>. Place: the scene of <<<image_3>>>. "
        "Style: the style of <<<image_4>>>."
    )
    assert make_plan(parse("multi-image2image"), seed=1, max_batch=1).shots[0].prompt == "Subject: <<<image_1>>>."
    assert make_plan(parse("expand"), seed=1, max_batch=1).shots[0].prompt == (
        "Continue the scene beyond the edges of the image."
    )
    assert make_plan(parse("expand", prompt="a sea!"), seed=1, max_batch=1).shots[0].prompt == "a sea!"
    assert make_plan(parse("generations"), seed=1, max_batch=1).shots[0].prompt == "a fox"
    assert (
        make_plan(parse("try-on"), seed=1, max_batch=1).shots[0].prompt.startswith("Show the person of <<<image_1>>>")
    )


def test_an_expansion_has_ratios_within_the_limits() -> None:
    assert parse("expand", up_expansion_ratio="2", left_expansion_ratio=0).options.expansion == Expansion(up=2.0)
    assert parse(
        "expand",
        up_expansion_ratio=0.25,
        down_expansion_ratio=0.25,
        left_expansion_ratio=0.5,
        right_expansion_ratio=0.5,
    ).options.expansion == Expansion(0.25, 0.25, 0.5, 0.5), "exactly three times the area is allowed"
    assert problem("expand", up_expansion_ratio=2.1) == 'up_expansion_ratio must be a number from 0 to 2, not "2.1"'
    assert "must be greater than 0" in problem("expand", up_expansion_ratio=0)
    assert "enlarge the image to 4 times its original area; at most 3 times the original area is allowed" in problem(
        "expand", up_expansion_ratio=1, left_expansion_ratio=1
    )
    assert problem("expand", image=None) == "image is required and must not be empty"
    with pytest.raises(Refused, match="kling-expand cannot expand images"):
        parse("expand", Catalog([Model("kling-expand", expansions=False)]))


def test_a_try_on_needs_both_images() -> None:
    assert problem("try-on", human_image="", cloth_image=None) == (
        "human_image is required and must not be empty; cloth_image is required and must not be empty"
    )


def test_the_model_must_offer_the_endpoint() -> None:
    assert problem("omni-image", model_name="kling-v3") == (
        "model_name kling-v3 is not available here; send kling-v3-omni"
    )
    assert problem("multi-image2image", model_name="kling-v3") == (
        "model_name kling-v3 is not available here; send kling-v2-1"
    )
    with pytest.raises(Refused) as error:
        parse("generations", model_name="dall-e")
    assert error.value.code == 1203


def test_the_default_model_is_the_one_of_kling_or_default_model_or_the_first_that_offers_the_endpoint() -> None:
    own = [Model("a", kinds=("omni-image",)), Model("b"), Model("c")]
    assert parse("generations", Catalog(own)).model == "b"
    assert parse("generations", Catalog(own, "c")).model == "c"
    assert parse("generations", Catalog(own, "a")).model == "b"
    assert parse("generations", Catalog([*own, Model("kling-v3")], "c")).model == "kling-v3"
    with pytest.raises(Refused, match="model_name is required; no configured model supports this endpoint"):
        parse("try-on", Catalog([Model("a", kinds=("omni-image",))]))


@given(
    st.integers(300, 8000),
    st.integers(300, 8000),
    *(st.floats(0, 2) for _ in range(4)),
)
def test_the_layout_keeps_the_original_in_its_place(
    width: int, height: int, up: float, down: float, left: float, right: float
) -> None:
    expansion = Expansion(up, down, left, right)
    size, box = layout(expansion, width, height)
    assert size.width % 2 == size.height % 2 == 0
    assert max(size) <= 8192
    assert box.left >= 0
    assert box.top >= 0
    assert box.left + box.width <= size.width
    assert box.top + box.height <= size.height
    full = (width * (1 + left + right), height * (1 + up + down))
    scale = min(1.0, 8192 / max(full))
    for actual, exact in (
        (size.width, full[0] * scale),
        (size.height, full[1] * scale),
        (box.left, width * left * scale),
        (box.top, height * up * scale),
        (box.width, width * scale),
        (box.height, height * scale),
    ):
        assert abs(actual - exact) <= 3
    if scale == 1.0:
        assert (box.width, box.height) == (width, height)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES = sorted({*(name for fields in MINIMAL.values() for name in fields), "image_reference", "scene_image", "n"})


@given(st.sampled_from(TASK_KINDS), st.dictionaries(st.sampled_from(NAMES), json_values))
def test_any_json_is_accepted_or_refused(kind: TaskKind, fields: dict[str, Any]) -> None:
    try:
        parse(kind, **fields)
    except Refused as error:
        assert error.code in (1201, 1203)
        assert 0 < len(error.message) < 3000
