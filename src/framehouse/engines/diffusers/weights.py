"""Which models' weights are on this machine: folders, and the cache that all of Hugging Face's programs share."""

import json
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = re.compile(r"[a-zA-Z0-9][\w.-]{0,95}/[a-zA-Z0-9][\w.-]{0,95}", re.ASCII)
INDEX = "model_index.json"
_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's files. `revision` is the commit, empty for a folder of one's own; `missing` says what is not there, in
    a few words, empty where nothing is."""

    folder: Path
    revision: str = ""
    missing: str = ""

    @property
    def pipeline(self) -> str:
        """The class of the pipeline, empty where it is none, such as an upscaler."""
        return str(_json(self.folder / INDEX).get("_class_name", ""))

    @property
    def numbers(self) -> dict[str, int]:
        """How many numbers each part of a pipeline holds, by the headers of its files; what weighs nothing is left
        out."""
        counts = {}
        for part in parts_of(_json(self.folder / INDEX)):
            if count := sum(_numbers_in(path) for path in (self.folder / part).glob("*.safetensors")):
                counts[part] = count
        return counts

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def cache_folder() -> Path:
    """Where the cache is: HF_HUB_CACHE, or hub in HF_HOME, or where it is by default."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    return home_folder() / "hub"


def home_folder() -> Path:
    """Hugging Face's folder for this user: HF_HOME, or where it is by default."""
    if given := os.environ.get("HF_HOME"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"


def repository_folder(repository: str) -> Path:
    return cache_folder() / f"models--{repository.replace('/', '--')}"


def find_weights(model: str, revision: str = "main") -> Weights | None:
    """What is here of a folder or a repository's revision (a branch, a tag or a commit); None: nothing."""
    folder = Path(model)
    if folder.is_absolute() and folder.is_dir():
        return Weights(folder, "", missing_of(folder))
    if not REPOSITORY.fullmatch(model):
        return None
    repository = repository_folder(model)
    try:
        commit = (repository / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    folder = repository / "snapshots" / commit
    return Weights(folder, commit, missing_of(folder)) if folder.is_dir() else None


def list_weights() -> Iterator[tuple[str, str, Weights]]:
    """Each repository in the cache with each of its revisions that has a name, by name."""
    for repository in sorted(cache_folder().glob("models--*--*")):
        name = repository.name.removeprefix("models--").replace("--", "/", 1)
        for ref in sorted(path for path in (repository / "refs").rglob("*") if path.is_file()):
            revision = ref.relative_to(repository / "refs").as_posix()
            if found := find_weights(name, revision):
                yield name, revision, found


def parts_of(index: dict[str, Any]) -> list[str]:
    """The folders of a pipeline's parts that `model_index.json` names."""
    return sorted(
        name
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[0] is not None
    )


def missing_of(folder: Path) -> str:
    """What a folder lacks of a pipeline or of a single model, as far as its own files say."""
    index = _json(folder / INDEX)
    if not index:
        if not (folder / "config.json").is_file():
            return f"neither {INDEX} nor config.json"
        return _missing_of_part(folder, "")
    for part in parts_of(index):
        if missing := _missing_of_part(folder / part, f"{part}/"):
            return missing
    return ""


def _missing_of_part(folder: Path, name: str) -> str:
    if not folder.is_dir():
        return name or str(folder)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        files = set(_json(index).get("weight_map", {}).values())
        if lost := sorted(file for file in files if not (folder / file).is_file()):
            return f"{name}{lost[0]}"
    if (folder / "config.json").is_file() and not any(path.is_file() for path in folder.glob("*.safetensors")):
        return f"{name}*.safetensors"
    return ""


def _numbers_in(path: Path) -> int:
    """Of one safetensors file; 0 where it is none."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(_HEADER_BYTES, struct.unpack("<Q", file.read(8))[0])))
    except (OSError, ValueError, struct.error):
        return 0
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
