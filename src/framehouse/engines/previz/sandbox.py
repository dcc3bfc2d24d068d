"""Words in a prompt that make previz refuse, fail or take its time, so that client teams can try each ending.

`[sandbox: refuse]`          refused when the task is sent: HTTP 400, code 1301
`[sandbox: decline]`         accepted, then failed: the engine will not paint this
`[sandbox: fail]`            accepted, then failed: the engine broke
`[sandbox: fail image 2]`    the same, but only at the second picture
`[sandbox: slow 5]`          each picture takes five seconds longer
"""

import re
from dataclasses import dataclass

MOST_SECONDS = 600.0
_TRIGGER = re.compile(r"\[\s{0,4}sandbox\s{0,4}[:：]([^\[\]]{1,80})\]", re.IGNORECASE)
_WORDS = "refuse, decline, fail, fail image N (1 to 9) and slow SECONDS"
_KNOWN = re.compile(
    r"refuse|decline|fail|fail image (?P<image>[1-9])|slow (?P<seconds>\d{1,3}(?:\.\d+)?)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a prompt asks the sandbox to do; `fail_image` counts from 1, 0: all of them."""

    refuse: str = ""
    decline: bool = False
    fail_image: int | None = None
    slow_s: float = 0.0


def behaviour(prompt: str) -> Behaviour:
    """The triggers of a prompt. One that does not exist refuses, and says which do."""
    refuse, decline, fail_image, slow_s = "", False, None, 0.0
    for trigger in _TRIGGER.finditer(prompt):
        words = " ".join(trigger[1].lower().split())
        known = _KNOWN.fullmatch(words)
        if known is None:
            refuse = f'the sandbox does not know "{words}"; it knows {_WORDS}'
        elif words == "refuse":
            refuse = "refused, as the prompt asks the sandbox to"
        elif words == "decline":
            decline = True
        elif known["seconds"]:
            slow_s = min(MOST_SECONDS, float(known["seconds"]))
        else:
            fail_image = int(known["image"] or 0)
    return Behaviour(refuse, decline, fail_image, slow_s)


def refusal(prompt: str) -> str | None:
    """Why a prompt is refused at once, or None."""
    return behaviour(prompt).refuse or None


def without_triggers(prompt: str) -> str:
    """The prompt's other words, which are drawn."""
    return _TRIGGER.sub(" ", prompt)
