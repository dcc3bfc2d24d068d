"""Triggers in a prompt that make previz refuse, fail or wait, so that client developers can test each outcome.

`[sandbox: refuse]`          the API refuses the request with HTTP 400 and code 1301
`[sandbox: decline]`         the API accepts the task, but the engine declines the prompt, and the task fails
`[sandbox: fail]`            the API accepts the task, but the engine reports an error, and the task fails
`[sandbox: fail image 2]`    like `fail`, but the engine reports the error only for the second image
`[sandbox: slow 5]`          each image takes five seconds longer
"""

import re
from dataclasses import dataclass

MAX_SECONDS = 600.0
_TRIGGER = re.compile(r"\[\s{0,4}sandbox\s{0,4}[:：]([^\[\]]{1,80})\]", re.IGNORECASE)
_WORDS = "refuse, decline, fail, fail image N (1 to 9) and slow SECONDS"
_KNOWN = re.compile(
    r"refuse|decline|fail|fail image (?P<image>[1-9])|slow (?P<seconds>\d{1,3}(?:\.\d+)?)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The behaviour that the triggers in a prompt request.

    `refuse` is the reason for a refusal, or empty if the prompt is not refused. `fail_image` is the number of the image
    that fails, counted from 1. The value 0 means every image, and None means no image.
    """

    refuse: str = ""
    decline: bool = False
    fail_image: int | None = None
    slow_s: float = 0.0


def behaviour(prompt: str) -> Behaviour:
    """Return the behaviour that a prompt requests. A prompt with an unknown trigger is refused."""
    refuse, decline, fail_image, slow_s = "", False, None, 0.0
    for trigger in _TRIGGER.finditer(prompt):
        words = " ".join(trigger[1].lower().split())
        known = _KNOWN.fullmatch(words)
        if known is None:
            refuse = f'"{words}" is not a sandbox trigger; the sandbox triggers are {_WORDS}'
        elif words == "refuse":
            refuse = "refused, because the prompt contains a sandbox trigger"
        elif words == "decline":
            decline = True
        elif known["seconds"]:
            slow_s = min(MAX_SECONDS, float(known["seconds"]))
        else:
            fail_image = int(known["image"] or 0)
    return Behaviour(refuse, decline, fail_image, slow_s)


def refusal(prompt: str) -> str | None:
    """Return the reason to refuse a prompt when the task is submitted, or None to accept the prompt."""
    return behaviour(prompt).refuse or None


def without_triggers(prompt: str) -> str:
    """Return the prompt without its triggers."""
    return _TRIGGER.sub(" ", prompt)
