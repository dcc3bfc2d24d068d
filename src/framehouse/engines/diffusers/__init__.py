"""Runs open-weight models on the devices of this machine, with the library diffusers of Hugging Face.

Reading order: `model_defaults` (the settings of each known model) and `weights` (the files on this machine; `hub`
downloads more); `diffusers_options` (a route's options, checked); `calls` (which shots share a call); `devices` (one
thread per device, and its recovery after failures); `child` (the child process of a device, as the engine sees it);
`wire` (the messages between the two); `process` (the program of the child process, which alone loads torch);
`diffusers_engine` (the engine).
"""

from framehouse.engines.diffusers.diffusers_engine import Diffusers

__all__ = ["Diffusers"]
