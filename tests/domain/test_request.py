"""Parsing of the fields of a request: defaults, limits, errors, and that any JSON is either accepted or refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import ascii_host, read_int
from framehouse.domain.model import Catalog, Model
from framehouse.domain.reference import LongString, SentImage
from framehouse.domain.request import parse_request
from framehouse.domain.task import ImageRequest
from framehouse.entrypoints.api.kling.request_schemas import OmniImageRequest

MODELS = Catalog(
    [
        Model("kling-v3-omni", aliases=("kling-omni-image", "Image-V3")),
        Model("kling-image-o1", resolutions=("1k", "2k"), series=False),
    ]
)


FIELDS = (*OmniImageRequest.model_fields, "image", "watermark")


def parse(**fields: Any) -> ImageRequest:
    return parse_request({"model_name": "kling-v3-omni", "prompt": "a fox"} | fields, MODELS)


def problem(**fields: Any) -> str:
    with pytest.raises(Refused) as error:
        parse(**fields)
    assert error.value.code == 1201
    return error.value.message


def test_a_minimal_request_gets_the_defaults() -> None:
    assert parse() == ImageRequest(model="kling-v3-omni", prompt="a fox")


def test_null_and_empty_mean_absent() -> None:
    names = (
        "image_list element_list resolution result_type aspect_ratio n series_amount watermark_info callback_url "
        "external_task_id"
    )
    assert parse(**dict.fromkeys(names.split())) == parse()
    assert parse(callback_url="", external_task_id="", resolution="", aspect_ratio="", n="") == parse()


def test_unknown_fields_are_ignored() -> None:
    assert parse(mode="pro", negative_prompt="people", image_fidelity=0.5, seed="often") == parse()


def test_model_is_an_alias_of_model_name() -> None:
    assert parse(model_name=None, model="kling-image-o1").model == "kling-image-o1"


@pytest.mark.parametrize("name", ["kling-v3-omni", " Kling-V3-Omni\n", "KLING-OMNI-IMAGE", "image-v3"])
def test_a_model_has_aliases_in_any_case(name: str) -> None:
    assert parse(model_name=name).model == "kling-v3-omni"


def test_a_model_with_the_same_case_takes_precedence() -> None:
    models = Catalog([Model("A"), Model("a"), Model("b", aliases=("B2",))])
    assert [found.name for name in ("a", "A", "B", "b2") if (found := models.find(name))] == ["a", "A", "b", "b"]


def test_an_alias_must_not_be_ambiguous() -> None:
    for models in (
        [Model("a", aliases=("B",)), Model("b")],
        [Model("a", aliases=("x",)), Model("b", aliases=("X",))],
    ):
        with pytest.raises(ValueError, match="is also a name of another model"):
            Catalog(models)


def test_a_missing_model_name_means_the_default_model() -> None:
    models = Catalog(MODELS.models, "IMAGE-v3")
    assert parse_request({"prompt": "x"}, models).model == "kling-v3-omni"
    assert parse_request({"prompt": "x", "model_name": "kling-image-o1"}, models).model == "kling-image-o1"
    assert problem(model_name=None) == "model_name is required; send kling-v3-omni or kling-image-o1"
    with pytest.raises(ValueError, match='default_model "x" is not a configured model'):
        Catalog(MODELS.models, "x")


URL = "https://example.com/a.png"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"image": URL}, ["image"]),
        ({"image": f" {URL}\n"}, ["image"]),
        ({"image": [URL, {"image": URL}, {"url": URL}]}, ["image[0]", "image[1].image", "image[2].url"]),
        ({"image": {"image_url": URL}}, ["image.image_url"]),
        (
            {"image_list": [URL, {"url": URL}, {"image_url": URL}]},
            [f"image_list[{i}" for i in ("0]", "1].url", "2].image_url")],
        ),
        ({"image": URL, "image_list": [{"image": URL}]}, ["image", "image_list[0].image"]),
        ({"image": "", "image_list": []}, []),
        ({"image": None, "image_list": None}, []),
    ],
)
def test_images_are_accepted_in_all_forms_that_clients_send(fields: dict[str, Any], expected: list[str]) -> None:
    assert parse(**fields).images == tuple(SentImage(field, URL) for field in expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": 7}, "image must be a URL or base64 string"),
        ({"image": " "}, "image is required and must not be empty"),
        ({"image": [""]}, "image[0] is required and must not be empty"),
        ({"image": [{}]}, "image[0].image is required and must not be empty"),
        ({"image_list": [None]}, "image_list[0] is required and must not be empty"),
        ({"image_list": URL}, "image_list must be a list of images"),
        ({"image": URL, "image_list": [URL] * 10}, "image and image_list have 11 entries"),
        ({"image": URL, "element_list": [{"element_id": 1}] * 10}, "image and element_list have 11 entries"),
        ({"image": [URL] * 11}, "image has 11 entries"),
    ],
)
def test_invalid_images_are_refused(fields: dict[str, Any], message: str) -> None:
    assert problem(**fields).startswith(message)


@pytest.mark.parametrize("value", [True, "true", " TRUE "])
def test_a_watermark_is_requested_in_all_forms_that_clients_send(value: object) -> None:
    assert parse(watermark_info={"enabled": value}).watermark
    assert parse(watermark=value).watermark
    assert not parse(watermark_info={"enabled": "false"}, watermark=value).watermark
    assert not parse(watermark_info={}, watermark=value).watermark


def test_whitespace_around_ids_and_urls_is_ignored() -> None:
    request = parse(
        external_task_id=" my id\n", callback_url="\thttps://example.com/ ", element_list=[{"element_id": "\u300012\n"}]
    )
    assert (request.external_task_id, request.callback_url, request.elements) == (
        "my id",
        "https://example.com/",
        (12,),
    )
    assert parse(external_task_id=" ", callback_url=" \n") == parse()


@pytest.mark.parametrize("value", [3, "3", " 3 ", "+3"])
def test_numbers_may_be_strings(value: object) -> None:
    assert parse(n=value).amount == 3


@pytest.mark.parametrize("value", [True, False, 2.0, 2.5, "2.0", "2e0", "two", [2], {"n": 2}, 0, 10, -1, 10**30, "９"])
def test_n_must_be_an_integer_from_1_to_9(value: object) -> None:
    assert problem(n=value).startswith("n must be")


def test_n_is_ignored_in_a_series_and_series_amount_in_a_single() -> None:
    assert parse(result_type="series", n=99).amount is None
    assert parse(series_amount=99).amount == 1
    assert parse(result_type="series", series_amount="5").amount == 5
    assert parse(result_type="series", series_amount="AUTO").amount is None
    assert problem(result_type="series", series_amount=1) == "series_amount must be from 2 to 9, not 1"


def test_one_message_names_all_problems() -> None:
    message = problem(
        prompt="", n=12, resolution="8k", aspect_ratio="5:4", callback_url="ftp://x", watermark_info="yes"
    )
    for name in ("prompt", "n ", "resolution", "aspect_ratio", "callback_url", "watermark_info"):
        assert name in message
    assert "1k, 2k, 4k" in message
    assert "16:9" in message


def test_invalid_prompts_are_refused() -> None:
    assert parse(prompt="语" * 2500).prompt == "语" * 2500
    assert problem(prompt="x" * 2501) == "prompt has 2501 characters; at most 2500 are allowed"
    assert problem(prompt="a\0b") == "prompt contains a NUL character, which is not allowed"
    assert "required" in problem(prompt=" \n")
    assert "must be a string" in problem(prompt=["a"])


def test_values_that_a_model_does_not_support_are_refused() -> None:
    assert "1k, 2k" in problem(model_name="kling-image-o1", resolution="4k")
    assert problem(model_name="kling-image-o1", result_type="series") == "result_type must be single for kling-image-o1"
    with pytest.raises(Refused) as error:
        parse(model_name="dall-e")
    assert (error.value.code, error.value.status) == (1203, 404)
    assert "model_name is required" in problem(model_name=None)


def test_at_most_ten_references_and_elements_are_accepted() -> None:
    url = {"image": "https://example.com/a.png"}
    assert len(parse(image_list=[url] * 10).images) == 10
    assert "image_list" in problem(image_list=[url] * 11)
    assert "at most 10 in total" in problem(image_list=[url] * 6, element_list=[{"element_id": 1}] * 5)
    assert problem(image_list=[{"image": ""}]) == "image_list[0].image is required and must not be empty"
    assert "element_id" in problem(element_list=[{"element_id": True}])
    assert parse(element_list=[{"element_id": "12"}]).elements == (12,)


LONG = LongString("a" * 512, 80_000)


@pytest.mark.parametrize("name", FIELDS)
def test_a_long_string_in_any_field_is_a_problem_of_that_field_or_ignored(name: str) -> None:
    for value in (LONG, [LONG], {"enabled": LONG}, [{"image": LONG, "element_id": LONG}]):
        try:
            request = parse(**{name: value})
        except Refused as error:
            assert name in error.message or name == "model"
            assert len(error.message) < 300
        else:
            assert name in ("model", "seed", "n", "series_amount") or [sent.image for sent in request.images] == [LONG]


def test_a_long_string_is_an_image_or_a_url_that_is_too_long() -> None:
    assert parse(image_list=[{"image": LONG}]).images == (SentImage("image_list[0].image", LONG),)
    url = LongString("HTTP://example.com/" + "a" * 400, 70_000)
    assert problem(image_list=[{"image": url}]) == (
        "image_list[0].image is a URL of 70000 characters; at most 8192 are allowed"
    )


def test_the_error_names_a_citation_of_an_image_that_was_not_sent() -> None:
    assert problem(prompt="<<<image_1>>>") == "prompt cites <<<image_1>>>, but 0 images and 0 elements were sent"
    long = problem(prompt=f"<<<image_\n{'1' * 100}>>>")
    assert long == f"prompt cites <<<image_\ufffd{'1' * 30}…, but 0 images and 0 elements were sent"
    assert parse(prompt="<<image_1>>", image_list=[{"image": "https://example.com/a.png"}])
    assert parse(prompt="@image_1 and mail@image1.com").prompt == "@image_1 and mail@image1.com"


NOT_URLS = [
    r"ftp://a/b",
    r"http://",
    r"https://user:pw@example.com/",
    r"javascript:x",
    r"http://[::1",
    r"//a",
    r"http://a:99999/",
    r"http://a\@b/",
]


@pytest.mark.parametrize("url", [*NOT_URLS, "http://a b/", "http://a/\nX: y", 5])
def test_an_invalid_url_is_refused(url: object) -> None:
    assert problem(callback_url=url).startswith("callback_url")


def test_errors_do_not_repeat_huge_values() -> None:
    assert len(problem(n="9" * 10_000_000, image_list="x" * 10_000_000, resolution=["y" * 10_000_000])) < 1000


@given(st.integers(min_value=-(10**17), max_value=10**17))
def test_integers_and_their_strings_are_read_exactly(number: int) -> None:
    assert read_int(number) == number == read_int(str(number))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just(LONG),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_json_is_accepted_or_refused(fields: dict[str, Any]) -> None:
    try:
        request = parse(**fields)
    except Refused as error:
        assert error.code in (1201, 1203)
        assert error.message
    else:
        assert 1 <= (request.amount or 2) <= 9


def test_values_in_messages_are_quoted_as_json() -> None:
    quoted_values = {
        "True": True,
        "None": [None],
        "'a'": {"a": 1},
        "inf": float("inf"),
    }
    for python, value in quoted_values.items():
        assert python not in problem(n=value)
    assert problem(n=True).endswith('not "true"')
    assert problem(n={"a": [1, "b"]}).endswith('not "{"a": [1, "b"]}"')
    assert len(problem(n=10**4000)) < 200
    assert len(problem(n=[[["x" * 100] * 100] * 100] * 100)) < 200


@pytest.mark.parametrize(
    ("host", "ascii_form"),
    [
        ("faß.example", "xn--fa-hia.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("my_service", "my_service"),
        ("::1", "::1"),
    ],
)
def test_host_names_have_the_ascii_form_that_browsers_use(host: str, ascii_form: str) -> None:
    assert ascii_host(host) == ascii_form


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "ü" * 63 + ".example", "\u200d.example", "a." * 130])
def test_invalid_host_names_have_no_ascii_form(host: str) -> None:
    with pytest.raises(UnicodeError):
        ascii_host(host)
