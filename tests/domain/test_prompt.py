"""Parsing of prompts: the number of images, listed shots, the aspect ratio and citations."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framehouse.domain import prompt
from framehouse.domain.prompt import (
    Cited,
    citations,
    listed_shots,
    prompt_parts,
    requested_images,
    requested_ratio,
    resolve_citation,
)
from framehouse.domain.sizes import RATIOS


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("Create a three-frame product storyboard", 3),
        ("4 panels about a fox", 4),
        ("A four panel comic", 4),
        ("a set of 5", 5),
        ("a series of six posters", 6),
        ("three product storyboard frames", 3),
        ("Seven images of seven cats", 7),
        ("a story in twelve pictures", 12),
        ("20 frames of a sunset", 20),
        ("四格漫画：一只猫学做饭", 4),
        ("两张照片", 2),
        ("三张产品分镜图", 3),
        ("十二张图", 12),
        ("九宫格", 9),
        ("五个镜头讲一个故事", 5),
        ("画6幅画", 6),
        ("100 images", 100),
        ("a dozen panels", 12),
        ("a couple of shots", 2),
        ("3x3 grid of cats", 9),
        ("a 2 by 2 panel", 4),
        ("a triptych of the sea", 3),
        ("a five part story", 5),
        ("five different logo designs", 5),
        ("six views of a chair", 6),
        ("Scene 1: the 3 cats. Scene 2: 5 images on a wall", None),
        ("镜头1：男孩, 5张照片在墙上。镜头2：女孩", None),
        ("a set of 4. Frame 1: a. Frame 2: 9 photos.", 4),
        ("in 16:9 frames", None),
        ("one picture of two cats", None),
        ("一张照片，两张桌子", None),
        ("two cats watching pictures", None),
        ("two red foxes", None),
        ("一只猫", None),
        ("Frame 1: a cat. Frame 2: a dog.", None),
        ("第三张", None),
        ("ſix frames, fıve pictures", None),
        ("", None),
    ],
)
def test_the_requested_number_of_images_is_found(prompt: str, count: int | None) -> None:
    assert requested_images(prompt) == count


@pytest.mark.parametrize(
    ("prompt", "shared", "shots"),
    [
        ("Frame 1: a cat. Frame 2: a dog.", "", ("a cat.", "a dog.")),
        ("A bottle. Shot 1 - on sand; Shot 2 - in rain", "A bottle.", ("on sand;", "in rain")),
        ("Panel one: dawn\nPanel two: noon", "", ("dawn", "noon")),
        ("A fox\n1. it wakes\n2. it runs\n3. it sleeps", "A fox", ("it wakes", "it runs", "it sleeps")),
        ("1) a\n2) b\n\nStyle: ink", "Style: ink", ("a", "b")),
        ("镜头一：猫。镜头二：狗。", "", ("猫。", "狗。")),
        ("第一格：清晨，第二格：正午", "", ("清晨，", "正午")),
        ("一只狐狸 ①醒来 ②奔跑", "一只狐狸", ("醒来", "奔跑")),
        ("First frame: a seed. Second frame: a tree.", "", ("a seed.", "a tree.")),
        ("**Frame 1:** a cat\n**Frame 2:** a dog", "", ("a cat", "a dog")),
        ("- Frame 1: a cat\n- Frame 2: a dog", "", ("a cat", "a dog")),
        ("## Panel 1\nA dog\n## Panel 2\nA cat", "", ("A dog", "A cat")),
        ("一、早晨\n二、中午\n三、晚上", "", ("早晨", "中午", "晚上")),
        ("第1张图是猫，第2张图是狗", "", ("猫，", "狗")),
        ("Image 1 shows a cat, image 2 shows a dog", "", ("shows a cat,", "shows a dog")),
        ("Frame 1: cat. Frame 2: . Frame 3: bird", "", ("cat.", "", "bird")),
    ],
)  # fmt: skip
def test_listed_shots_are_found(prompt: str, shared: str, shots: tuple[str, ...]) -> None:
    listed = listed_shots(prompt)
    assert listed is not None
    assert (listed.shared, listed.shots) == (shared, shots)


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat",
        "Frame 1: a cat",
        "Frame 2: a. Frame 1: b",
        "1. a\n3. c",
        "Frame 1: Frame 2: b",
        "2.5 apples\n3.5 pears",
        "Panel one: a. Panel ſix: b",
    ],
)
def test_prompts_without_a_list_have_no_listed_shots(prompt: str) -> None:
    assert listed_shots(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "ratio"),
    [
        ("a fox, 16:9", "16:9"),
        ("比例 9：16 的海报", "9:16"),
        ("3比4的图", "3:4"),
        ("a vertical poster", "2:3"),
        ("竖屏", "9:16"),
        ("a phone wallpaper of the moon", "9:16"),
        ("手机壁纸", "9:16"),
        ("cinematic widescreen shot", "21:9"),
        ("widescreen view", "16:9"),
        ("电影宽屏", "21:9"),
        ("a square image", "1:1"),
        ("头像", "1:1"),
        ("Times Square at 12:30", None),
        ("at 9:16 in the morning, a runner", None),
        ("AT 9:16 A RUNNER", None),
        ("a person with vertical stripes", None),
        ("in vertical format", "9:16"),
        ("a horizontal banner", "16:9"),
        ("a portrait of a woman", None),
        ("at 16:95", None),
        ("ratio 5:7", None),
    ],
)
def test_the_requested_aspect_ratio_is_found(prompt: str, ratio: str | None) -> None:
    assert requested_ratio(prompt, RATIOS) == ratio
    assert requested_ratio(prompt, ()) is None


def test_citations_take_two_or_three_brackets_and_spaces() -> None:
    all_citations = citations("<<<image_1>>> and << element_2 >> and <<<Object_3>>> but not <image_4>")
    assert [(c.kind, c.number) for c in all_citations] == [("image", 1), ("element", 2), ("object", 3)]
    assert not citations("<<<ımage_1>>>")


@pytest.mark.parametrize(
    "text",
    ["<<<image1>>>", "《《《image_1》》》", "《《IMAGE_1》》", "&lt;&lt;&lt;image_1&gt;&gt;&gt;",
     "&lt;&lt;Image_1&gt;&gt;",
     "@image_1", "@Image1", "@image1"],
)  # fmt: skip
def test_citations_have_several_forms(text: str) -> None:
    for surrounded in (text, f"wear {text}.", f"把{text}放在桌上", f"({text})"):
        assert [(c.kind, c.number, c.text) for c in citations(surrounded)] == [("image", 1, text)]
    assert citations(text.lower().replace("image", "element"))[0].kind == "element"


def test_an_at_sign_in_a_word_or_an_address_cites_nothing() -> None:
    assert not citations("me@image1.com @image_1b @@image1 @images1 x.@image1 @image")


def test_an_object_is_an_element_if_the_request_has_elements() -> None:
    citation = citations("<<<object_2>>>")[0]
    assert resolve_citation(citation, images=2, elements=0) == ("image", 1)
    assert resolve_citation(citation, images=0, elements=2) == ("element", 1)
    assert resolve_citation(citation, images=2, elements=1) is None
    assert resolve_citation(citations("<<<image_0>>>")[0], images=2, elements=0) is None


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a fox", ("a fox",)),
        ("", ()),
        ("<<<image_1>>>", (Cited("image", 0),)),
        ("The <<<image_2>>> on << object_1 >>!", ("The ", Cited("image", 1), " on ", Cited("element", 0), "!")),
        ("<<<element_1>>><<<image_1>>> go", (Cited("element", 0), Cited("image", 0), " go")),
        ("@image_9 and @image_2", ("@image_9 and ", Cited("image", 1))),
        ("a <<<image_9>>> b <<<image_1>>>", ("a <<<image_9>>> b ", Cited("image", 0))),
    ],
)
def test_a_prompt_is_split_into_text_and_citations(prompt: str, parts: tuple[str | Cited, ...]) -> None:
    assert prompt_parts(prompt, images=2, elements=1) == parts


@pytest.mark.parametrize(
    "prompt",
    [
        "frame 1" + " " * 2490 + "x",
        "frame" + " " * 2490 + "]",
        "one " + "-" * 2490,
        "镜头1" + "-" * 2490,
        "1-" * 1250,
        "the first" + "\t" * 2480,
        "<<" + " " * 2490,
        "vertical " * 270,
    ],
)
def test_no_prompt_takes_long_to_parse(prompt: str) -> None:
    """The API process parses prompts. Before the patterns limited the number of spaces, these took seconds."""

    def parse_s() -> float:
        start = time.thread_time()
        listed_shots(prompt), requested_images(prompt), requested_ratio(prompt, RATIOS), citations(prompt)
        return time.thread_time() - start

    assert min(parse_s() for _ in range(3)) < 0.3  # a garbage collection may delay one of them


@given(st.data())
def test_every_match_of_a_ratio_pattern_contains_a_hint(data: st.DataObject) -> None:
    pattern = data.draw(st.sampled_from([pattern for _, pattern in prompt._RATIO_PATTERNS]))
    match = data.draw(st.from_regex(pattern, fullmatch=True))
    assert any(hint in match.casefold() for hint in prompt._RATIO_HINTS)
