"""Several servers of one model: who is asked next, and who is left alone for a while."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from framehouse.domain.errors import Unavailable
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.openai_images.reference_probe import Finding


@dataclass(eq=False, slots=True)
class Replica:
    """One server. `place` is what callers may hear ("server 1 of 2"): its address is for operators only. `firm`: its
    rest lasts, whatever its health says. `probing` finds `finding`."""

    url: str
    place: str
    cooldown: Cooldown = field(default_factory=Cooldown)
    firm: bool = False
    in_flight: int = 0
    turn: int = 0
    finding: Finding | None = None
    probing: "asyncio.Task[None] | None" = None

    def begin_rest(self, why: str, *, at_least_s: float = 0.0) -> None:
        self.firm = at_least_s > 0 or (self.firm and self.cooldown.remaining_s > 0)
        self.cooldown.start(why, at_least_s=at_least_s)

    def end_rest(self) -> None:
        """It works. A pause that it asked for itself is kept."""
        if not (self.firm and self.cooldown.remaining_s):
            self.firm = False
            self.cooldown.end()


class Replicas:
    """Of those that do not rest, the one with the fewest calls is next; each has at most `each` at a time."""

    def __init__(self, urls: Sequence[str], *, each: int) -> None:
        count = len(urls)
        self.all = tuple(
            Replica(url, f"server {number} of {count}" if count > 1 else "the model server")
            for number, url in enumerate(urls, 1)
        )
        self._each = each
        self._turn = 0
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def borrow(self, refused: Mapping[Replica, str]) -> AsyncIterator[Replica]:
        """A free place at one of them, waited for, but not at those that `refused` this call already. Raises
        Unavailable with all reasons where nobody is left to ask. The place is free again at once when this ends."""
        replica = await self._take(refused)
        try:
            yield replica
        finally:
            replica.in_flight -= 1
            self.wake()

    async def _take(self, refused: Mapping[Replica, str]) -> Replica:
        while True:
            able = [replica for replica in self.all if replica not in refused and not replica.cooldown.remaining_s]
            if not able:
                raise Unavailable("; ".join(f"{r.place} {refused.get(r) or r.cooldown.reason}" for r in self.all))
            free = [replica for replica in able if replica.in_flight < self._each]
            if free:
                chosen = min(free, key=lambda replica: (replica.in_flight, replica.turn))
                chosen.in_flight += 1
                self._turn += 1
                chosen.turn = self._turn
                return chosen
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await asyncio.wait([place], timeout=self._rested_in(refused))

    def _rested_in(self, refused: Collection[Replica]) -> float | None:
        """Seconds until one of those that rest may be asked again."""
        resting = [
            replica.cooldown.remaining_s
            for replica in self.all
            if replica not in refused and replica.cooldown.remaining_s
        ]
        return min(resting) + 0.01 if resting else None

    def wake(self) -> None:
        """A place is free, or a rest has begun or ended: who waits looks again, the first to come first."""
        waiting, self._waiting = self._waiting, []
        for place in waiting:
            if not place.done():
                place.set_result(None)
