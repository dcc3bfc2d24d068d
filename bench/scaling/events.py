"""An event-driven simulation: a clock, the cores of a machine, processes, a write-ahead log, and row locks."""

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

Action = Callable[[], None]


class Clock:
    """The simulated time. It calls actions in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Action]] = []
        self._number = itertools.count()

    def after(self, seconds: float, then: Action) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._number), then))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, then = heapq.heappop(self._due)
            then()
        self.now = until


class Cores:
    """The cores of a machine. An action waits for the next free core. `spent` is the CPU time by purpose."""

    def __init__(self, clock: Clock, number: int) -> None:
        self._clock = clock
        self.number = number
        self._free = number
        self._waiting: deque[tuple[float, Action]] = deque()
        self.spent: dict[str, float] = defaultdict(float)

    def use(self, seconds: float, purpose: str, then: Action) -> None:
        self.spent[purpose] += seconds
        if self._free:
            self._free -= 1
            self._clock.after(seconds, lambda: self._done(then))
        else:
            self._waiting.append((seconds, then))

    def _done(self, then: Action) -> None:
        if self._waiting:
            seconds, waiting = self._waiting.popleft()
            self._clock.after(seconds, lambda: self._done(waiting))
        else:
            self._free += 1
        then()

    @property
    def waiting(self) -> int:
        return len(self._waiting)


class Thread:
    """A process that does one thing at a time, on the cores of its machine."""

    def __init__(self, cores: Cores, purpose: str) -> None:
        self._cores = cores
        self._purpose = purpose
        self._busy = False
        self._waiting: deque[tuple[float, Action]] = deque()
        self.spent = 0.0

    def use(self, seconds: float, then: Action) -> None:
        self._waiting.append((seconds, then))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            seconds, then = self._waiting.popleft()
            self.spent += seconds
            self._cores.use(seconds, self._purpose, lambda: self._done(then))

    def _done(self, then: Action) -> None:
        then()
        self._next()


class Log:
    """The write-ahead log. It flushes once at a time; a flush commits everything that was written before it started."""

    def __init__(self, clock: Clock, *, flush_s: float, bytes_per_s: float) -> None:
        self._clock = clock
        self._flush_s = flush_s
        self._bytes_per_s = bytes_per_s
        self._waiting: list[Action] = []
        self._bytes = 0.0
        self._busy = False
        self.busy_s = 0.0
        self.written_bytes = 0.0
        self.flushes = 0

    def commit(self, size: float, then: Action) -> None:
        self._waiting.append(then)
        self._bytes += size
        if not self._busy:
            self._flush()

    def _flush(self) -> None:
        group, self._waiting = self._waiting, []
        seconds = self._flush_s + self._bytes / self._bytes_per_s
        self.written_bytes += self._bytes
        self.busy_s += seconds
        self.flushes += 1
        self._bytes, self._busy = 0.0, True
        self._clock.after(seconds, lambda: self._done(group))

    def _done(self, group: Sequence[Action]) -> None:
        self._busy = False
        for then in group:
            then()
        if self._waiting and not self._busy:
            self._flush()


class Locks:
    """The locks of rows. One action at a time holds the lock of a row; the other actions queue."""

    def __init__(self) -> None:
        self._held: dict[int, deque[Action]] = {}
        self.longest = 0

    def take(self, row: int, then: Action) -> None:
        if row in self._held:
            self._held[row].append(then)
            self.longest = max(self.longest, len(self._held[row]))
        else:
            self._held[row] = deque()
            then()

    def take_all(self, rows: Sequence[int], then: Action) -> None:
        """Take the locks in this order. All actions must take locks in the same order, to avoid deadlocks."""
        if rows:
            self.take(rows[0], lambda: self.take_all(rows[1:], then))
        else:
            then()

    def free(self, rows: Sequence[int]) -> None:
        for row in rows:
            if self._held[row]:
                self._held[row].popleft()()
            else:
                del self._held[row]
