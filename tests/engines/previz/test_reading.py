"""The scene that the engine `previz` reads from a prompt, in English and Chinese."""

from typing import Any

import pytest

from framehouse.domain.plan_shots import make_plan
from framehouse.domain.prompt import prompt_parts
from framehouse.domain.shot import FRAMINGS
from framehouse.domain.task import ImageRequest
from framehouse.engines.previz import lexicon
from framehouse.engines.previz.backdrops import PLACES
from framehouse.engines.previz.pictograms import pack, pictogram
from framehouse.engines.previz.reading import read_scene
from framehouse.engines.previz.scene import Scene
from framehouse.engines.previz.styles import STYLES


def read(prompt: str) -> Scene:
    return read_scene(prompt_parts(prompt, images=2, elements=1), caption=prompt)


def names(scene: Scene) -> list[str]:
    return [s.name or f"{s.cited.kind} {s.cited.index}" for s in scene.subjects if s.name or s.cited]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat by the sea at sunset, watercolor", {"backdrop": "sea", "time": "sunset", "style": "watercolor"}),
        ("雪山下的小木屋，夜晚，星空", {"backdrop": "mountain", "time": "night", "season": ""}),
        ("a deer in a misty autumn forest at dawn", {"backdrop": "forest", "time": "dawn", "season": "autumn"}),
        ("一条狗在下雨的街道上，赛博朋克", {"backdrop": "street", "weather": "rain", "style": "neon"}),
        ("a violin on the stage, dramatic, close-up", {"backdrop": "stage", "mood": "epic", "framing": "close-up"}),
        ("在咖啡馆里的一杯咖啡，俯拍，温馨", {"backdrop": "cafe", "framing": "top view", "mood": "warm"}),
        ("a sea turtle at a coral reef", {"backdrop": "underwater"}),
        ("a girl from the city walks in the forest", {"backdrop": "forest"}),
        ("a beach in summer, pastel", {"backdrop": "beach", "season": "summer", "tone": "pastel"}),
        ("a portrait, black and white", {"style": "mono"}),
        ("a storm over the desert", {"weather": "storm", "backdrop": "desert"}),
    ],
)
def test_a_scene_has_the_conditions_of_its_prompt(prompt: str, expected: dict[str, Any]) -> None:
    scene = read(prompt)
    assert {field: getattr(scene, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("prompt", "subjects"),
    [
        ("two red foxes", [("fox", 2, "red", 1.0)]),
        ("三只猫", [("cat", 3, None, 1.0)]),
        ("一辆蓝色的汽车", [("automobile", 1, "blue", 1.0)]),
        ("a tiny mouse and a giant mushroom", [("mouse", 1, None, 0.5), ("mushroom", 1, None, 1.45)]),
        ("an orange cat and a tangerine", [("cat", 1, "orange", 1.0), ("tangerine", 1, None, 1.0)]),
        ("a wooden horse", [("horse", 1, "wood", 1.0)]),
        ("a woman in a red dress", [("woman", 1, "red", 1.0)]),
        ("a family", [("man", 1, None, 1.0), ("woman", 1, None, 1.0), ("child", 1, None, 1.0)]),
        ("a fox. The fox sleeps", [("fox", 1, None, 1.0)]),
        ("a bottle of perfume", [("perfume", 1, None, 1.0)]),
        ("a pair of sneakers", [("running-shoe", 2, None, 1.0)]),
        ("children and wolves", [("child", 3, None, 1.0), ("wolf", 3, None, 1.0)]),
    ],
)
def test_subjects_have_number_colour_and_size(prompt: str, subjects: list[tuple[str, int, str | None, float]]) -> None:
    read_subjects = [(s.name, s.number, s.color, s.size) for s in read(prompt).subjects]
    expected = [(name, n, lexicon.RGB[color] if color else None, size) for name, n, color, size in subjects]
    assert read_subjects == expected


@pytest.mark.parametrize(
    ("prompt", "name", "relation", "target"),
    [
        ("a cat riding a bicycle", "cat", "riding", "bicycle"),
        ("一个男孩骑着自行车", "boy", "riding", "bicycle"),
        ("a knight with a shield riding a horse", "knight", "riding", "horse"),
        ("a bird sitting on a chair", "bird", "on", "chair"),
        ("三只猫坐在沙发上", "cat", "on", "couch-and-lamp"),
        ("a dog under an umbrella", "dog", "under", "umbrella"),
        ("老人在树下", "old-man", "under", "deciduous-tree"),
        ("a robot holding a flower", "blossom", "held", "robot"),
        ("一个女孩打着雨伞", "umbrella", "held", "girl"),
        ("a man wearing a top hat", "top-hat", "worn", "man"),
        ("a cat in a box", "cat", "in", "package"),
        ("a horse in front of a castle", "horse", "front", "castle"),
        ("a fox behind a tree", "fox", "behind", "deciduous-tree"),
        ("a girl beside her robot", "girl", "beside", "robot"),
    ],
)
def test_a_subject_has_a_relation_to_its_target(prompt: str, name: str, relation: str, target: str) -> None:
    scene = read(prompt)
    subject = next(s for s in scene.subjects if s.name == name)
    assert (subject.relation, scene.subjects[subject.target].name) == (relation, target)


def test_an_evening_is_not_a_target() -> None:
    assert not any(s.relation for s in read("a child on a rainy evening while the dog waits").subjects)


@pytest.mark.parametrize(
    ("prompt", "subjects"),
    [
        ("Merge the dog in <<<image_1>>> into a city street", ["image 0"]),
        ("The bag of <<<image_2>>> on a beach", ["image 1"]),
        ("<<<image_1>>>中的狗在追蝴蝶", ["image 0", "butterfly"]),
        ("<<<element_1>>> riding a horse", ["element 0", "horse"]),
        ("<<<image_1>>> and <<<object_1>>>", ["image 0", "element 0"]),
        ("a fox beside <<<image_1>>>", ["fox", "image 0"]),
    ],
)
def test_cited_images_are_subjects_in_the_order_of_the_prompt(prompt: str, subjects: list[str]) -> None:
    assert names(read(prompt)) == subjects


def test_a_cited_image_may_be_the_background() -> None:
    scene = read("a fox on the background <<<image_1>>>")
    assert (names(scene), scene.setting is not None) == (["fox"], True)


def test_listed_shots_have_separate_scenes_and_share_subjects() -> None:
    request = ImageRequest(
        model="m",
        prompt="A fox named Finn, ink sketch. Frame 1: in the forest at dawn. Frame 2: by the sea at night with a boat",
        result_type="series",
        amount=None,
    )
    scenes = [read(shot.prompt) for shot in make_plan(request, seed=1, max_batch=1).shots]
    assert [(s.backdrop, s.time, s.style) for s in scenes] == [("forest", "dawn", "ink"), ("sea", "night", "ink")]
    assert [names(s) for s in scenes] == [["fox"], ["fox", "sailboat"]]
    assert [s.chips for s in scenes] == [(), ()]


def test_unwanted_things_are_not_in_the_scene() -> None:
    scene = read("a man and a dog in a park, no people, without clouds or birds")
    assert names(scene) == ["dog"]
    assert not scene.people
    assert read("海边的狗，没有人，不要鸟").people is False
    assert names(read("a fox, no cat, but a dog")) == ["fox", "dog"]
    assert "cloudy" in read("a beach, no clouds").unwanted


@pytest.mark.parametrize(
    ("prompt", "chips"),
    [
        ("a zorblax next to a quantum flux capacitor", ("zorblax", "quantum flux capacitor")),
        ("a majestic lion", ()),
        ("一只鹤在湖边", ("鹤",)),
        ("a fisherman at the harbor", ("fisherman",)),
        ("they watch the sunset", ()),
        ("Create a three-frame product storyboard", ()),
        ("a fox runs quickly through beautiful glowing grass", ("grass",)),
    ],
)
def test_words_without_a_drawing_become_chips(prompt: str, chips: tuple[str, ...]) -> None:
    assert read(prompt).chips == chips


# Sixty nouns for which the lexicon was not tuned. The English names and keywords of the pack's pictograms were shuffled
# with the seed 1234; these are the first sixty that name a visible thing. Each noun is followed by its correct drawing,
# chosen by eye, or by nothing if the pack has none.
UNTUNED = """
underwear=briefs brontosaurus=sauropod helmet=military-helmet wastebasket=wastebasket parent=man pumpkin=jack-o-lantern
spore= earth=globe-showing-europe-africa baseball=baseball yogi=person-in-lotus-position jellyfish=jellyfish
people=person blossom=blossom goose=goose garbage=wastebasket martini=cocktail-glass suitcase=luggage gloves=gloves
watermelon=watermelon laundry=basket jiaozi=dumpling dress=dress net= mother=woman fish=fish wrapper=candy basket=basket
sparkler=sparkler wheelchair=manual-wheelchair cookie=cookie burgers=hamburger coffin=coffin bank=bank peanut=peanuts
hamburger=hamburger cigarette=cigarette turtle=turtle bookbag=backpack mammoth=mammoth rosette=rosette eggs=egg
controller=video-game pirate=person tangerine=tangerine bullseye=bullseye guanaco=llama oolong=teacup-without-handle
volleyball=volleyball paperclips=paperclip shell=spiral-shell tomb=headstone vest=safety-vest speedboat=motor-boat
aeroplane=airplane doctor=health-worker chain=chains pierogi=dumpling gun= shortcake=shortcake honey=honey-pot
"""


def test_nine_of_ten_nouns_get_the_correct_drawing() -> None:
    correct_drawings = dict(pair.split("=") for pair in UNTUNED.split())
    assert len(correct_drawings) == 60
    drawings = {noun: names(read(f"a picture of a {noun}"))[:1] for noun in correct_drawings}
    correct = [noun for noun, name in correct_drawings.items() if name and drawings[noun] == [name]]
    assert len(correct) >= 54, {noun: drawings[noun] for noun in correct_drawings if noun not in correct}


def test_every_name_in_the_lexicon_exists() -> None:
    for entry in lexicon.MEANINGS["icon"]:
        for name in entry.rstrip("+").split(","):
            assert pictogram(name).body
    assert set(lexicon.MEANINGS["backdrop"]) == set(PLACES)
    assert set(lexicon.MEANINGS["style"]) == {*STYLES}
    assert set(lexicon.MEANINGS["framing"]) == set(FRAMINGS)
    assert set(lexicon.MEANINGS["color"]) == set(lexicon.RGB)
    assert len(PLACES) >= 12
    for table in (lexicon.SCALES, lexicon.HOMES):
        assert not set(table["names"]) - set(pack())
    homes = " ".join([*lexicon.HOMES["names"].values(), *lexicon.HOMES["kinds"].values()])
    assert set(homes.split()) <= set(PLACES)
