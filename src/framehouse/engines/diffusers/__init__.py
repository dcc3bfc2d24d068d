"""An engine that runs open-weight models on the devices of this machine, with Hugging Face's diffusers library.

Reading order of the modules:

`model_defaults`: the default settings of known models
`weights`: the model files on this machine; `hub` downloads them
`diffusers_options`: the checked options of a route
`calls`: the selection of the shots that share a call to the model's diffusers pipeline
`devices`: the queue of shots, and one thread per device, which starts a new child process after a failure
`child`: the part of the engine that starts the child process of a device and exchanges messages with it
`wire`: the messages between the engine and the child process
`process`: the program that runs in the child process, which is the only process that imports torch
`upscaling`: the part of `process` that upscales images
`device_memory`: an estimate of whether a device has enough memory for a model
`diffusers_engine`: the engine
"""

from framehouse.engines.diffusers.diffusers_engine import Diffusers

__all__ = ["Diffusers"]
