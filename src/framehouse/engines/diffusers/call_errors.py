"""Classify the errors of a diffusers pipeline, and shorten their messages. Only child processes call this module."""

from pathlib import Path

_MAX_REASON_CHARACTERS = 300
_OUT_OF_MEMORY = ("out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")
_DEVICE_FAULTS = (
    "cuda error",
    "cuda driver error",
    "cuda runtime error",
    "cudnn_status_",
    "cudnn error",
    "cublas_status_",
    "cublas error",
    "cusolver_status_",
    "cufft_",
    "hip error",
    "hipblas_status_",
    "device-side assert",
    "illegal memory access",
    "uncorrectable ecc",
)
"""Parts of messages, in lower case. After an error with such a message, a process cannot use its device any more."""


class LoadFailed(Exception):
    """Raised when the model cannot be loaded. The message states the reason in one sentence."""


class Unsupported(Exception):
    """Raised when the pipeline cannot generate the images of a task, for example because it accepts no references."""


def kind_of_failure(error: BaseException) -> str:
    """Return the event that reports an error of a call: `unsupported`, `out_of_memory`, `device_fault` or `failed`.

    After a device fault, such as an illegal memory access, all further calls of this process fail.
    """
    import torch

    if isinstance(error, Unsupported):
        return "unsupported"
    if is_out_of_memory(error):
        return "out_of_memory"
    fault = getattr(torch, "AcceleratorError", None)  # since torch 2.8
    return "device_fault" if fault and isinstance(error, fault) else kind_of_message(str(error))


def is_out_of_memory(error: BaseException) -> bool:
    import torch

    kinds = torch.OutOfMemoryError | MemoryError
    return isinstance(error, kinds) or kind_of_message(str(error)) == "out_of_memory"


def kind_of_message(message: str) -> str:
    """Return the event that reports an error with this message: `out_of_memory`, `device_fault` or `failed`."""
    text = message.lower()
    if any(mark in text for mark in _OUT_OF_MEMORY):
        return "out_of_memory"
    return "device_fault" if any(mark in text for mark in _DEVICE_FAULTS) else "failed"


def reason_of(error: BaseException, folder: str = "") -> str:
    """Return the first non-empty line of an error's message, shortened to 300 characters.

    The path `folder` is replaced by its last part. If the message is empty, the name of the error's class is returned.
    """
    text = str(error)
    if text.startswith("(") and error.args:  # str(error) contains the brackets and quotes of a tuple
        parts = error.args[0] if len(error.args) == 1 else error.args
        text = ": ".join(map(str, parts)) if isinstance(parts, tuple) else text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return (line.replace(folder, Path(folder).name) if folder else line)[:_MAX_REASON_CHARACTERS]
