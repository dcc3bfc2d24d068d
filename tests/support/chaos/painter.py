"""The engine of the chaos: as the misbehaving one, and it notes which process painted."""

import os

from framehouse.engines.interface import Batch
from framehouse.testing.misbehaving import Misbehaving


class Painter(Misbehaving):
    """`notes` gets "done <task> <index> <pid>" for each picture, also when the process is killed right after."""

    def _log(self, event: str, batch: Batch, index: int) -> None:
        if self._log_path and event == "done":
            with self._log_path.open("ab", buffering=0) as file:
                file.write(f"done {batch.task_id} {index} {os.getpid()}\n".encode())
