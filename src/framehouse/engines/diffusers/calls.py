"""Decides which queued shots share one call of the pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from framehouse.domain.errors import Failed
from framehouse.domain.sizes import Size
from framehouse.engines.interface import GeneratedImage, Progress


class Recipient(Protocol):
    """The call of `generate` that queued a shot and waits for its image. `cancelled`: that call has ended."""

    cancelled: bool

    def deliver(self, event: GeneratedImage | Progress | Failed) -> None:
        """Thread-safe. A Progress event only reports a change: the progress of each shot is `QueuedShot.share`."""
        ...


@dataclass(slots=True, eq=False)
class QueuedShot:
    """A shot that waits for a device or is being generated.

    The pipeline generates an image of `size`; `final_size` is the size of the finished image, the same or larger.
    `files` are the input images for the model. `share` is the completed part of the work, and 1 after the image was
    delivered. `isolated` is true if a process died during a call with this shot; such a shot shares no call. `crashes`
    counts how often a process died during a call with this shot only.
    """

    recipient: Recipient
    index: int
    prompt: str
    seed: int
    size: Size
    final_size: Size
    files: tuple[bytes, ...] = ()
    share: float = 0.0
    isolated: bool = False
    crashes: int = 0

    @property
    def memory_key(self) -> tuple[Size, int]:
        """Shots with the same key need the same amount of memory."""
        return self.size, len(self.files)


def next_call(waiting: Sequence[QueuedShot], *, limit: int, multiple_prompts: bool) -> list[QueuedShot]:
    """The shots of the next call: the oldest shot and the shots that can share its call, at most `limit`.

    `waiting` is not empty and has the oldest shot first. Shots that share a call have the same size. They also have the
    same recipient, files and prompt, with one exception: shots without files may differ in recipient and prompt if the
    pipeline accepts several prompts. An isolated shot shares no call.
    """
    oldest = waiting[0]
    if oldest.isolated:
        return [oldest]
    sharing = (shot for shot in waiting[1:] if _can_share_call(oldest, shot, multiple_prompts=multiple_prompts))
    return [oldest, *sharing][: max(1, limit)]


def _can_share_call(one: QueuedShot, other: QueuedShot, *, multiple_prompts: bool) -> bool:
    if other.isolated or one.size != other.size or bool(one.files) != bool(other.files):
        return False
    if not one.files and multiple_prompts:
        return True
    return one.recipient is other.recipient and one.files == other.files and one.prompt == other.prompt
