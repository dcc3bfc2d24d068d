"""Find the weights of models on this machine: in folders, and in the cache that all Hugging Face programs share."""

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
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of a model on this machine.

    `revision` is the commit, or empty if the model is configured as a folder. `missing` is the name of a missing file
    or folder, or empty if the model is complete.
    """

    folder: Path
    revision: str = ""
    missing: str = ""

    @property
    def pipeline(self) -> str:
        """The name of the pipeline class. Empty if the model is not a pipeline, for example if it is an upscaler."""
        return str(_read_json(self.folder / INDEX).get("_class_name", ""))

    @property
    def parameter_counts(self) -> dict[str, int]:
        """The number of parameters of each part of a pipeline, from the headers of its safetensors files.

        Parts without parameters are omitted.
        """
        counts = {}
        for part in pipeline_parts(_read_json(self.folder / INDEX)):
            if count := sum(_parameter_count(path) for path in (self.folder / part).glob("*.safetensors")):
                counts[part] = count
        return counts

    @property
    def is_lora(self) -> bool:
        """True if the folder contains safetensors files, but neither a pipeline nor a single model."""
        is_model = any((self.folder / name).is_file() for name in (INDEX, "config.json"))
        return not is_model and any(self.folder.glob("*.safetensors"))

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def cache_folder() -> Path:
    """Return the Hugging Face cache folder: HF_HUB_CACHE, or else `hub` in the Hugging Face home folder."""
    if configured := os.environ.get("HF_HUB_CACHE"):
        return Path(configured).expanduser()
    return home_folder() / "hub"


def home_folder() -> Path:
    """Return the Hugging Face home folder: HF_HOME, or else `huggingface` in the user's cache folder."""
    if configured := os.environ.get("HF_HOME"):
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"


def repository_folder(repository: str) -> Path:
    return cache_folder() / f"models--{repository.replace('/', '--')}"


def find_weights(model: str, revision: str = "main") -> Weights | None:
    """Find the weights of a repository or a folder. Returns None if the weights are not on this machine.

    `revision` is a branch, a tag or a commit of the repository, and is ignored for a folder.
    """
    folder = Path(model)
    if folder.is_absolute() and folder.is_dir():
        return Weights(folder, "", find_missing(folder))
    if not REPOSITORY.fullmatch(model):
        return None
    repository = repository_folder(model)
    try:
        commit = (repository / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    folder = repository / "snapshots" / commit
    return Weights(folder, commit, find_missing(folder)) if folder.is_dir() else None


def list_weights() -> Iterator[tuple[str, str, Weights]]:
    """Yield the repository, the revision and the weights of each model in the cache, sorted by repository and revision.

    Here, the revision is the name of a branch or a tag, and not a commit.
    """
    for repository in sorted(cache_folder().glob("models--*--*")):
        name = repository.name.removeprefix("models--").replace("--", "/", 1)
        for ref in sorted(path for path in (repository / "refs").rglob("*") if path.is_file()):
            revision = ref.relative_to(repository / "refs").as_posix()
            if weights := find_weights(name, revision):
                yield name, revision, weights


def pipeline_parts(index: dict[str, Any]) -> list[str]:
    """Return the folders of a pipeline's parts. `index` is the content of the pipeline's `model_index.json`."""
    return sorted(
        name
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    )


def find_missing(folder: Path) -> str:
    """Return the name of a file or folder that is missing from a pipeline or a single model, such as an upscaler.

    Returns an empty string if the pipeline or the single model is complete. The function checks only the files that
    every model needs and the files that are listed in the model's index files.
    """
    index = _read_json(folder / INDEX)
    if not index:
        if not (folder / "config.json").is_file():
            return f"{INDEX} or config.json"
        return _find_missing_in_part(folder, "")
    for part in pipeline_parts(index):
        if missing := _find_missing_in_part(folder / part, f"{part}/"):
            return missing
    return ""


def _find_missing_in_part(folder: Path, name: str) -> str:
    if not folder.is_dir():
        return name or str(folder)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        files = set(_read_json(index).get("weight_map", {}).values())
        if missing := sorted(file for file in files if not (folder / file).is_file()):
            return f"{name}{missing[0]}"
    if (folder / "config.json").is_file() and not any(path.is_file() for path in folder.glob("*.safetensors")):
        return f"{name}*.safetensors"
    return ""


def _parameter_count(path: Path) -> int:
    """Return the number of parameters in a safetensors file, or 0 if the file is not a readable safetensors file."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(_MAX_HEADER_BYTES, struct.unpack("<Q", file.read(8))[0])))
    except (OSError, ValueError, struct.error):
        return 0
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Returns an empty object if the file is missing or contains no JSON object."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
