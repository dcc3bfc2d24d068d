"""The implicit label of a generated image, as the Chinese standard GB 45438-2025 specifies it.

An image file contains the label once, in its metadata. The label is an object whose values are all strings.
"""

import uuid

from framehouse.domain.field_reader import quoted

KEYS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
LABELS = {"1": "generated", "2": "possibly generated", "3": "suspected to be generated"}
"""The meanings of the values of `Label`."""


def build_label(producer: str, task_id: uuid.UUID, index: int) -> dict[str, str]:
    """Return the label of a new image. `producer` is the code of the service that generated the image.

    `index` is the index of the image in its task. At first, the producer is also the propagator.
    """
    produce_id = f"{task_id}-{index}"
    values = ("1", producer, produce_id, "", producer, produce_id, "")
    return dict(zip(KEYS, values, strict=True))


def label_problem(label: object) -> str | None:
    """Return the problem with a label that was read from a file, or None if the label is valid."""
    if not isinstance(label, dict) or set(label) != set(KEYS):
        return f"must be an object with the keys {', '.join(KEYS)}"
    for key, value in label.items():
        if not isinstance(value, str):
            return f"{key} must be a string, not {quoted(value)}"
        if problem := code_problem(value):
            return f"{key} {problem}"
    if label["Label"] not in LABELS:
        return f"Label must be {', '.join(LABELS)}, not {quoted(label['Label'])}"
    return None if label["ContentProducer"] else "ContentProducer must not be empty"


def code_problem(code: str) -> str | None:
    """Return the problem with a value of a label, such as the code of a producer, or None if the value is valid."""
    wrong = next((character for character in code if not "!" <= character <= "~" or character in '"\\'), None)
    if wrong is None:
        return None
    return (
        f"must not contain the character U+{ord(wrong):04X}: {quoted(code)}. Letters without accents, digits and "
        'ASCII punctuation except " and \\ are allowed. Spaces and Chinese characters are not allowed'
    )
