"""SIGTERM and SIGINT, counted: the first asks a supervisor to stop, the second to stop immediately."""

import signal
from dataclasses import dataclass


@dataclass(slots=True)
class StopSignals:
    count: int = 0

    @property
    def stop(self) -> bool:
        return self.count > 0

    @property
    def stop_immediately(self) -> bool:
        return self.count > 1


def catch_stop_signals() -> StopSignals:
    """Count both signals from now on, instead of raising KeyboardInterrupt."""
    signals = StopSignals()

    def count(_number: int, _frame: object) -> None:
        signals.count += 1

    signal.signal(signal.SIGTERM, count)
    signal.signal(signal.SIGINT, count)
    return signals
