"""What the fuzzing has learned holds in every run: the kept inputs keep the properties. It needs no fuzzer."""

from pathlib import Path
from types import ModuleType

import pytest
from fuzz import images, prompt, reader

CORPUS = Path(images.__file__).parent / "corpus"
TARGETS = pytest.mark.parametrize("target", [images, prompt, reader], ids=["images", "prompt", "reader"])
MOST_FILES, MOST_BYTES, MOST_FILE_BYTES = 220, 300_000, 8_192


def kept(target: ModuleType) -> list[Path]:
    return sorted((CORPUS / target.__name__.rpartition(".")[2]).iterdir())


@TARGETS
def test_every_kept_input_keeps_the_properties(target: ModuleType) -> None:
    for file in kept(target):
        try:
            target.test_one(file.read_bytes())
        except BaseException as error:
            error.add_note(f"the input is {file}")
            raise


@TARGETS
def test_the_kept_inputs_are_few_and_small(target: ModuleType) -> None:
    sizes = [file.stat().st_size for file in kept(target)]
    assert 20 < len(sizes) <= MOST_FILES
    assert sum(sizes) <= MOST_BYTES
    assert max(sizes) <= MOST_FILE_BYTES
