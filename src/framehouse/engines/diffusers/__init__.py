"""An engine that runs open-weight models on the devices of this machine, with Hugging Face's diffusers library.

Reading order of the modules:

`pipeline_classes`: the abilities of each pipeline class of the diffusers library, which `pipeline_inspection` finds out
`model_defaults`: the default settings of known models
`weights`: the model files on this machine; `hub` downloads them
`diffusers_options`: the checked options of a route; `loras` checks the LoRAs
`model_files`: the packages and files that a route needs
`device_memory`: an estimate of whether a device has enough memory for a model; `memory_plan` compares options
`calls`: the selection of the shots that share a call to the model's diffusers pipeline
`schedule`: the rules for the distribution of shots to devices, and for loading the model
`shot_queue`: the waiting shots, and the next step of each device
`devices`: one thread per device, which starts a new child process after a failure
`child`: the part of the engine that starts the child process of a device and exchanges messages with it
`wire`: the messages between the engine and the child process
`process`: the program that runs in the child process, which is the only process that imports torch
`pipeline_loading`, `pipeline_arguments`, `upscaling`, `call_errors`: the parts of `process` that load a pipeline, build
    the arguments of a call, upscale images and classify errors
`diffusers_engine`: the engine
"""

from framehouse.engines.diffusers.diffusers_engine import Diffusers

__all__ = ["Diffusers"]
