"""An engine whose errors quote the prompt, as the errors of model servers do."""

from collections.abc import AsyncIterator

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress

WORDS = {"decline": Declined, "break": Broken, "unavailable": Unavailable, "unknown": Unknown, "raise": ValueError}


class QuotingEngine:
    """Raises the exception that the first word of the prompt selects. Its message contains the whole prompt."""

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=1)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        yield Progress(0.1)
        prompt = batch.shots[0].prompt
        raise WORDS[prompt.split()[0]](f"cannot generate: {prompt}")

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
