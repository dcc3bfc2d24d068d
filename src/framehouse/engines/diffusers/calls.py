"""Choose the queued shots that share one call to the model's diffusers pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from framehouse.domain.errors import Failed
from framehouse.domain.sizes import Size
from framehouse.engines.interface import GeneratedImage, Progress


class Recipient(Protocol):
    """The call to `Diffusers.generate` that queued a shot and waits for its image.

    `cancelled` is true after this call has ended for any reason, even if it succeeded.
    """

    cancelled: bool

    def deliver(self, event: GeneratedImage | Progress | Failed) -> None:
        """Pass an event to the call to `Diffusers.generate`. Thread-safe.

        A Progress event only signals that the progress has changed. `QueuedShot.share` contains the progress of each
        shot.
        """
        ...


class MemoryKey(NamedTuple):
    """The properties of a shot that determine how much memory and time its call needs."""

    size: Size
    files: int
    mask: bool


@dataclass(slots=True, eq=False)
class QueuedShot:
    """A shot that waits for a device or is being generated.

    `size`: the size of the image that the pipeline generates.
    `final_size`: the size of the finished image, which is equal to `size` or larger.
    `files`: the input images for the model.
    `mask`: the file of the mask. The model must generate the white area of the mask. `mask` is empty if the task
        neither expands an image nor has a mask. If there is a mask, the only file in `files` is the canvas
        (`expansion_canvas.draw_canvas` or `masked_canvas.draw_masked_canvas`).
    `negative_prompt`: the negative prompt of the task, or empty if there is none.
    `share`: the completed fraction of the work on this shot, which is 1 after the image has been delivered.
    `isolated`: true if a child process died during a call with this shot. An isolated shot never shares a call.
    `crashes`: the number of child processes that died during a call with only this shot.
    """

    recipient: Recipient
    index: int
    prompt: str
    seed: int
    size: Size
    final_size: Size
    files: tuple[bytes, ...] = ()
    mask: bytes = b""
    negative_prompt: str = ""
    share: float = 0.0
    isolated: bool = False
    crashes: int = 0

    @property
    def memory_key(self) -> MemoryKey:
        return MemoryKey(self.size, len(self.files), bool(self.mask))


def next_call(waiting: Sequence[QueuedShot], *, limit: int, multiple_prompts: bool) -> list[QueuedShot]:
    """Return the shots of the next call: the oldest shot, and other waiting shots that can share its call.

    The result contains at most `limit` shots. `waiting` must not be empty. The first shot in `waiting` is the oldest
    shot.

    Shots can share a call if their sizes, negative prompts, recipients, files and prompts are equal. If the pipeline
    accepts several prompts, shots without files may have different recipients and prompts. An isolated shot never
    shares a call.
    """
    oldest = waiting[0]
    if oldest.isolated:
        return [oldest]
    sharing = (shot for shot in waiting[1:] if _can_share_call(oldest, shot, multiple_prompts=multiple_prompts))
    return [oldest, *sharing][: max(1, limit)]


def _can_share_call(one: QueuedShot, other: QueuedShot, *, multiple_prompts: bool) -> bool:
    if other.isolated or one.size != other.size or bool(one.files) != bool(other.files):
        return False
    if one.negative_prompt != other.negative_prompt:
        return False
    if not one.files and multiple_prompts:
        return True
    # `mask` is not compared, because all shots of a recipient have the same mask.
    return one.recipient is other.recipient and one.files == other.files and one.prompt == other.prompt
