"""The real child process of the engine `diffusers` with a pipeline that fails on request.

Words in a prompt select the failure:

- `[oom N]`: out of memory if a call has more than N images.
- `[fault]`: the device fails, and all further calls of the process fail.
- `[fault FILE]`: the process creates FILE and its device fails; if FILE already exists, the call succeeds.
- `[die]`: the process is killed.
- `[die FILE]`: the process creates FILE and is killed; if FILE already exists, the call succeeds.
- `[hang]`: the call takes an hour.
- `[slow S]`: the call starts S seconds late.
- `[wait FILE]`: the process creates FILE.started. The call starts when FILE exists.
- `[nan]`: the images consist of NaN.
- `[oom whole]`: out of memory if images are not decoded in tiles.

The value `free_bytes` of the load command replaces the free memory of the device.
"""

import os
import re
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from framehouse.engines.diffusers.process import LoadedPipeline, Process, main


class MisbehavingPipeline(LoadedPipeline):
    faulty = False

    def free_bytes(self) -> int | None:
        free: int | None = self._settings.get("free_bytes")
        return free

    def call(self, pipe: Any, **arguments: Any) -> Any:
        import diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_inpaint as edit_inpaint
        import diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus as edit_plus
        import torch

        # with the default of a million pixels, a call takes seconds
        edit_plus.VAE_IMAGE_SIZE, edit_plus.CONDITION_IMAGE_SIZE = 64 * 64, 56 * 56
        calculate = edit_plus.calculate_dimensions
        edit_inpaint.calculate_dimensions = lambda _area, ratio: (*calculate(128 * 128, ratio), None)
        prompts = str(arguments["prompt"])
        if (limit := re.search(r"\[oom (\d+)\]", prompts)) and len(arguments["generator"]) > int(limit[1]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.faulty or (match := re.search(r"\[fault(?: (\S+))?\]", prompts)):
            marker = None if self.faulty or not match else match[1]
            if marker is None or not Path(marker).exists():
                if marker:
                    Path(marker).touch()
                self.faulty = True
                raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors …")
        if match := re.search(r"\[die(?: (\S+))?\]", prompts):
            marker = Path(match[1] or os.devnull)
            if match[1] is None or not marker.exists():
                if match[1]:
                    marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if "[hang]" in prompts:
            time.sleep(3600)
        if match := re.search(r"\[slow (\S+)\]", prompts):
            time.sleep(float(match[1]))
        if match := re.search(r"\[wait (\S+)\]", prompts):
            gate = Path(match[1])
            gate.with_suffix(".started").touch()
            while not gate.exists():
                time.sleep(0.01)
        if "[nan]" in prompts:
            return [np.full((64, 64, 3), np.nan, np.float32)] * len(arguments["generator"])
        if "[oom whole]" in prompts:
            with mock.patch.object(pipe.vae, "decode", partial(self._decode_tiles_only, pipe.vae, pipe.vae.decode)):
                return super().call(pipe, **arguments)
        return super().call(pipe, **arguments)

    @staticmethod
    def _decode_tiles_only(vae: Any, decode: Any, *arguments: Any, **options: Any) -> Any:
        import torch

        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return decode(*arguments, **options)


class MisbehavingProcess(Process):
    def load(self, settings: dict[str, Any]) -> LoadedPipeline:
        return MisbehavingPipeline(settings)


if __name__ == "__main__":
    main(MisbehavingProcess)
