"""The implicit label of GB 45438-2025: its values, and the check of labels that were read from files."""

from uuid import UUID

import pytest

from framehouse.domain.aigc_label import build_label, code_problem, label_problem

TASK = UUID("01234567-89ab-7def-8123-456789abcdef")
PRODUCER = "001191110000MA01ABCD2X00001"
LABEL = build_label(PRODUCER, TASK, 3)


def test_a_new_image_was_generated_and_propagated_by_the_producer() -> None:
    assert {
        "Label": "1",
        "ContentProducer": PRODUCER,
        "ProduceID": f"{TASK}-3",
        "ReservedCode1": "",
        "ContentPropagator": PRODUCER,
        "PropagateID": f"{TASK}-3",
        "ReservedCode2": "",
    } == LABEL
    assert label_problem(LABEL) is None


def test_exactly_the_characters_of_the_standard_are_allowed() -> None:
    allowed = {chr(n) for n in (0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))}
    assert {chr(n) for n in range(0x3000) if code_problem(chr(n)) is None} == allowed
    assert "U+1F98A" in str(code_problem("a🦊"))


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (None, "must be an object"),
        ([LABEL], "must be an object"),
        ({k: v for k, v in LABEL.items() if k != "ReservedCode2"}, "must be an object with the keys Label, Con"),
        ({**LABEL, "More": ""}, "must be an object"),
        ({**LABEL, "Label": "4"}, 'Label must be 1, 2, 3, not "4"'),
        ({**LABEL, "Label": 1}, "Label must be a string"),
        ({**LABEL, "Label": ["1"]}, "Label must be a string"),
        ({**LABEL, "ReservedCode1": None}, "ReservedCode1 must be a string"),
        ({**LABEL, "ProduceID": "a b"}, r"ProduceID must not contain the character U\+0020"),
        ({**LABEL, "ContentProducer": ""}, "ContentProducer must not be empty"),
    ],
)
def test_a_wrong_label_is_found(label: object, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        assert not (found := label_problem(label)), found
