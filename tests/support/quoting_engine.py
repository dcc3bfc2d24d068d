"""An engine that tells what it was given: its errors quote the prompt, as those of model servers do."""

from collections.abc import AsyncIterator

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress

WORDS = {"decline": Declined, "break": Broken, "unavailable": Unavailable, "unknown": Unknown, "raise": ValueError}


class Telling:
    """Raises what the first word of the prompt says, with the whole of it as the message."""

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=1)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        yield Progress(0.1)
        prompt = batch.shots[0].prompt
        raise WORDS[prompt.split()[0]](f"cannot paint: {prompt}")

    async def close(self) -> None:
        """Nothing is open."""
