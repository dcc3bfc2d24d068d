"""The option `loras` of a route: small additional weights that change what a model generates."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framehouse.engines.diffusers.weights import REPOSITORY, find_weights
from framehouse.engines.option_checks import BadOption, as_json, check_number

_STEPS = re.compile(r"(?<!\d)(\d{1,2})[-_ ]?steps?(?![a-z])", re.IGNORECASE)
_MAX_STEPS = 16
"""Names with more steps, such as "my-style-50steps", name the steps of the training."""
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA of a route, with its weight.

    `path` is the full path of a safetensors file or a folder, or a repository, or a repository followed by the path of
    a file: "owner/name" or "owner/name/file.safetensors".
    """

    path: str
    weight: float = 1.0

    @property
    def name(self) -> str:
        """A name that reveals no path on this machine."""
        return Path(self.path).name if Path(self.path).is_absolute() else self.path

    @property
    def repository(self) -> str:
        """The repository of the LoRA. Empty for a path on this machine."""
        return split_repository(self.path)[0]

    @property
    def steps(self) -> int | None:
        """The number of steps that the name of the LoRA contains, as in "Lightning-4steps". None if there is none."""
        try:
            name = self.find_file().name
        except LoraMissing:
            name = ""
        found = _STEPS.search(Path(self.path).name) or _STEPS.search(name)
        return int(found[1]) if found and 1 <= int(found[1]) <= _MAX_STEPS else None

    def find_file(self) -> Path:
        """Return the safetensors file. Raises LoraMissing if there is no file, or more than one file."""
        repository, file = split_repository(self.path)
        if not repository:
            folder = Path(self.path)
            if folder.is_file():
                return folder
        else:
            weights = find_weights(repository)
            if weights is None:
                advice = f"framehouse models pull {self.path}"
                raise LoraMissing(f"{repository} is not on this machine; run: {advice}", advice)
            folder = weights.folder
        if file:
            if not (folder / file).is_file():
                advice = f"framehouse models pull {self.path}"
                raise LoraMissing(f"{self.path} is not on this machine; run: {advice}", advice)
            return folder / file
        files = sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
        if len(files) == 1:
            return files[0]
        if not files:
            raise LoraMissing(f"the LoRA {self.name} is not on this machine")
        example = f"{self.path}/{files[0].name}"
        shown = example if repository else f"…/{Path(example).parent.name}/{files[0].name}"
        raise LoraMissing(f"{self.name} contains {len(files)} files; set path to one of them, such as {shown}")


class LoraMissing(Exception):
    """Raised when the file of a LoRA cannot be found. `advice` is the command that downloads the file, or empty."""

    def __init__(self, message: str, advice: str = "") -> None:
        self.message = f"loras: {message}"
        self.advice = advice
        super().__init__(self.message)


def check_loras(loras: object) -> tuple[Lora, ...]:
    """Return the LoRAs of a route. Raises BadOption."""
    example = 'loras must be a list such as [{ path = "/models/style.safetensors", weight = 0.8 }]'
    if not isinstance(loras, Sequence) or isinstance(loras, str):
        raise BadOption(example)
    checked = []
    for number, lora in enumerate(loras):
        name = f"loras[{number}]"
        if not isinstance(lora, Mapping) or "path" not in lora:
            raise BadOption(f"{example}; {name} has no path")
        if unknown := sorted(set(lora) - {"path", "weight"}):
            raise BadOption(f"{name} must contain only path and weight; it contains {as_json(unknown[0])}")
        weight = check_number(f"{name}.weight", lora.get("weight", 1), -10, 10)
        checked.append(Lora(_check_path(f"{name}.path", lora["path"]), weight))
    if len({lora.path for lora in checked}) < len(checked):
        raise BadOption("loras must not contain a path twice")
    return tuple(checked)


def _check_path(name: str, path: object) -> str:
    if isinstance(path, str) and path.startswith("~"):
        path = str(Path(path).expanduser())
    repository, file = split_repository(path) if isinstance(path, str) else ("", "")
    is_absolute = isinstance(path, str) and Path(path).is_absolute()
    if not isinstance(path, str) or not (is_absolute or repository):
        raise BadOption(
            f'{name} must be the full path of a file or folder, a repository ("owner/name"), or a file in a repository '
            f'("owner/name/file{_SUFFIX}"); it is {as_json(path)}'
        )
    suffix = Path(file if repository else path).suffix
    is_folder = not file if repository else Path(path).is_dir() or not suffix
    if not is_folder and suffix != _SUFFIX:
        raise BadOption(f"{name} must be a {_SUFFIX} file, because other formats can contain code")
    return path


def split_repository(path: str) -> tuple[str, str]:
    """Split a path into the repository and the file in the repository. Both are empty for a path on this machine."""
    if Path(path).is_absolute():
        return "", ""
    parts = path.split("/", 2)
    repository = "/".join(parts[:2])
    file = parts[2] if len(parts) > 2 else ""
    if not REPOSITORY.fullmatch(repository) or ".." in file.split("/"):
        return "", ""
    return repository, file
