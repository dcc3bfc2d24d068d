"""The engine of the chaos tests: the misbehaving engine, which also records the process that generated each image."""

import os
from dataclasses import replace

from framehouse.engines.interface import Abilities, Batch
from framehouse.testing.misbehaving import Misbehaving


class RecordingEngine(Misbehaving):
    """Writes "done <task> <index> <pid>" to the file `notes` for each image.

    The line is written without a buffer, so it survives a kill of the process.
    """

    def abilities(self) -> Abilities:
        return replace(super().abilities(), expansions=True)

    def _log(self, event: str, batch: Batch, index: int) -> None:
        if self._log_path and event == "done":
            with self._log_path.open("ab", buffering=0) as file:
                file.write(f"done {batch.task_id} {index} {os.getpid()}\n".encode())
