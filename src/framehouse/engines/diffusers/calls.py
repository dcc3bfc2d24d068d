"""What is painted together: pure rules over the pictures that wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from framehouse.domain.errors import Failed
from framehouse.domain.sizes import Size
from framehouse.engines.interface import GeneratedImage, Progress


class Owner(Protocol):
    """Whose pieces these are. `gone`: nobody waits for them any more."""

    gone: bool

    def tell(self, event: GeneratedImage | Progress | Failed) -> None:
        """From any thread. Progress only says that it changed: each piece has its own share."""
        ...


@dataclass(slots=True, eq=False)
class Piece:
    """One picture to be painted at `size`, for it is `wanted` at that or a larger one. `files` are the pictures that
    the model is shown.

    `share`: how far it is, 1 when it was handed over. `alone`: a process died in a call that it was in; `crashes`: how
    often one died of it alone.
    """

    owner: Owner
    index: int
    prompt: str
    seed: int
    size: Size
    wanted: Size
    files: tuple[bytes, ...] = ()
    share: float = 0.0
    alone: bool = False
    crashes: int = 0

    @property
    def weight(self) -> tuple[Size, int]:
        """Pieces of the same weight need the same open_order."""
        return self.size, len(self.files)


def next_call(waiting: Sequence[Piece], *, most: int, many_prompts: bool) -> list[Piece]:
    """Of what waits, oldest first, what the next call paints, at most `most` pictures.

    From words alone: all of one size, whoever's they are, where the pipeline takes many prompts. From references: those
    of the same owner with the same files and words. One in whose company a process died is painted alone.
    """
    oldest = waiting[0]
    if oldest.alone:
        return [oldest]
    return [oldest, *(p for p in waiting[1:] if _together(oldest, p, many_prompts=many_prompts))][: max(1, most)]


def _together(one: Piece, other: Piece, *, many_prompts: bool) -> bool:
    if other.alone or one.size != other.size or bool(one.files) != bool(other.files):
        return False
    if not one.files and many_prompts:
        return True
    return one.owner is other.owner and one.files == other.files and one.prompt == other.prompt
