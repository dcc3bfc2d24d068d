"""Count SIGTERM and SIGINT. At the first signal, a supervisor stops gracefully; at the second, it stops immediately."""

import signal
from dataclasses import dataclass


@dataclass(slots=True)
class StopSignals:
    """The number of signals received so far."""

    count: int = 0

    @property
    def stop(self) -> bool:
        return self.count > 0

    @property
    def stop_immediately(self) -> bool:
        return self.count > 1


def catch_stop_signals() -> StopSignals:
    """Start to count both signals. SIGINT no longer raises KeyboardInterrupt."""
    signals = StopSignals()

    def count(_number: int, _frame: object) -> None:
        signals.count += 1

    signal.signal(signal.SIGTERM, count)
    signal.signal(signal.SIGINT, count)
    return signals
