"""The properties that fuzzing checks hold for every input in the corpus. These tests need no fuzzer."""

from pathlib import Path
from types import ModuleType

import pytest
from fuzz import images, prompt, reader

CORPUS = Path(images.__file__).parent / "corpus"
TARGETS = pytest.mark.parametrize("target", [images, prompt, reader], ids=["images", "prompt", "reader"])
MAX_FILES, MAX_BYTES, MAX_FILE_BYTES = 220, 300_000, 8_192


def corpus(target: ModuleType) -> list[Path]:
    return sorted((CORPUS / target.__name__.rpartition(".")[2]).iterdir())


@TARGETS
def test_every_input_of_the_corpus_has_the_properties(target: ModuleType) -> None:
    for file in corpus(target):
        try:
            target.test_one(file.read_bytes())
        except BaseException as error:
            error.add_note(f"the input is {file}")
            raise


@TARGETS
def test_the_corpus_has_few_and_small_files(target: ModuleType) -> None:
    sizes = [file.stat().st_size for file in corpus(target)]
    assert 20 < len(sizes) <= MAX_FILES
    assert sum(sizes) <= MAX_BYTES
    assert max(sizes) <= MAX_FILE_BYTES
