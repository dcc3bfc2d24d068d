"""A route's options, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framehouse.engines.diffusers.model_defaults import MOST_REFERENCES, Known
from framehouse.engines.diffusers.weights import REPOSITORY
from framehouse.engines.option_checks import BadOption

AUTO = "auto"
DTYPES = ("bfloat16", "float16", "float32")
QUANTIZE = ("fp8", "int8")
OFFLOAD = ("model", "sequential")


@dataclass(frozen=True, slots=True)
class Options:
    """What a route says, and where it is silent what the table says of its model; `docs/diffusers.md` explains each."""

    model: str
    revision: str
    devices: tuple[str, ...]
    dtype: str
    quantize: str | None
    offload: str | None
    compile: bool
    steps: int | None
    guidance: float | None
    shown: int
    max_pixels: int
    cite: str
    negative_prompt: str | None
    batch: int
    upscaler: str | None
    start_limit_s: float
    hang_limit_s: float
    known: Known

    @property
    def max_references(self) -> int:
        """How many a task may have: the model is shown the rest as a contact sheet."""
        return MOST_REFERENCES if self.shown else 0

    @property
    def model_name(self) -> str:
        return told_name(self.model)


def told_name(model: str) -> str:
    """A repository, or a folder's last part: what strangers may read."""
    return Path(model).name if Path(model).is_absolute() else model


def check_devices(devices: object) -> tuple[str, ...]:
    """`auto` as no names. Raises BadOption."""
    if devices == AUTO:
        return ()
    said = 'devices must be "auto" or a list of "cuda:0", "cuda:1", …, "mps" and "cpu"'
    if not isinstance(devices, Sequence) or isinstance(devices, str) or not devices:
        raise BadOption(said)
    for device in devices:
        kind, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
        if kind not in ("cuda", "mps", "cpu") or (number and (kind != "cuda" or not number.isdecimal())):
            raise BadOption(said)
    names = tuple("cuda:0" if device == "cuda" else device for device in devices)
    if len(set(names)) != len(names):
        raise BadOption("devices names one twice")
    return names


def check_model(name: str, model: object) -> str:
    """A repository or a folder. Raises BadOption."""
    if not isinstance(model, str) or not model:
        raise BadOption(f"{name} must be a repository such as black-forest-labs/FLUX.2-klein-4B, or a folder")
    model = str(Path(model).expanduser()) if model.startswith("~") else model
    if not REPOSITORY.fullmatch(model) and not Path(model).is_absolute():
        raise BadOption(f'{name} "{model}" is neither a repository ("owner/name") nor the full path of a folder')
    return model


def check_choice(name: str, value: object, choices: Sequence[str]) -> str | None:
    if value is not None and value not in choices:
        raise BadOption(f"{name} must be one of {', '.join(choices)}, or left out")
    return str(value) if value is not None else None
