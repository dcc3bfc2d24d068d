"""The pictures that wait, and a thread per device that paints them and knows what to do about trouble."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framehouse.domain.errors import Broken, Failed, Unavailable
from framehouse.domain.sizes import Size
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.diffusers.calls import Owner, Piece, next_call
from framehouse.engines.diffusers.child import ENDED, NUDGE, Child, Inbox
from framehouse.engines.interface import GeneratedImage, Progress

log = logging.getLogger(__name__)
_MOST_CRASHES = 2
_CLOSED = "the engine is closed"


@dataclass(frozen=True, slots=True)
class Work:
    """How all devices work: how their processes are started, what each is told first (raises
    Unavailable where there is nothing to load), how many pictures a call has at most, and how long it may be silent."""

    command: Sequence[str]
    settings: Callable[[], dict[str, Any]]
    most: int
    many_prompts: bool
    start_limit_s: float
    hang_limit_s: float


class Desk:
    """What waits, oldest first, for whichever device is free. For any thread."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.closing = False
        self._waiting: list[Piece] = []
        self._changed = threading.Condition()
        self._devices: list[Device] = []

    @property
    def devices(self) -> "tuple[Device, ...]":
        return tuple(self._devices)

    def open(self, names: Sequence[str]) -> None:
        """Begin; only the first time counts."""
        with self._changed:
            if self._devices or self.closing:
                return
            self._devices = [Device(name, self) for name in names]
        for device in self._devices:
            device.start()

    def put(self, pieces: Sequence[Piece]) -> None:
        """Let pieces wait. Raises Unavailable where no device can be used for now."""
        with self._changed:
            if self.closing:
                raise Unavailable(_CLOSED)
            if self._devices and all(device.unfit for device in self._devices):
                raise Unavailable(self._devices[0].unfit)
            self._waiting += pieces
            self._changed.notify_all()

    def put_back(self, pieces: Sequence[Piece]) -> None:
        """They come first now; or never, when this closes."""
        with self._changed:
            if not self.closing:
                self._waiting[:0] = [piece for piece in pieces if not piece.owner.gone]
                self._changed.notify_all()
                return
        for piece in pieces:
            piece.owner.tell(Unavailable(_CLOSED))

    def drop(self, owner: Owner) -> None:
        """Nobody waits for this owner's pieces any more: those that wait are forgotten, and calls that are for nobody
        now are stopped."""
        owner.gone = True
        with self._changed:
            self._waiting = [piece for piece in self._waiting if piece.owner is not owner]
        for device in self._devices:
            device.nudge()

    def take(self, device: "Device") -> list[Piece]:
        """The next call's pieces, when there are some and the device is rested; none when this closes."""
        with self._changed:
            while not self.closing:
                left_s = device.cooldown.remaining_s
                if left_s == 0 and self._waiting:
                    weight = self._waiting[0].weight
                    most = min(self.work.most, device.most.get(weight, self.work.most))
                    taken = next_call(self._waiting, most=most, many_prompts=self.work.many_prompts)
                    self._waiting = [piece for piece in self._waiting if piece not in taken]
                    return taken
                self._changed.wait(left_s or None)
            return []

    def found_unfit(self, pieces: Sequence[Piece]) -> None:
        """The device that had these cannot be used: others do them, or nobody does."""
        with self._changed:
            reasons = [device.unfit for device in self._devices]
            if all(reasons):
                pieces, self._waiting = [*pieces, *self._waiting], []
        if not all(reasons):
            self.put_back(pieces)
            return
        for piece in pieces:
            piece.owner.tell(Unavailable(reasons[0]))

    def close(self) -> None:
        """Stop everything and wait for it. Blocking."""
        with self._changed:
            self.closing = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for device in self._devices:
            device.nudge()
        for device in self._devices:
            device.join()
        for piece in left:
            piece.owner.tell(Unavailable(_CLOSED))


class _Unfit(Exception):
    """No process on this device can paint for now."""


class Device(threading.Thread):
    """A device with its process, which is started when it is needed and replaced when it died."""

    def __init__(self, name: str, desk: Desk) -> None:
        super().__init__(name=f"diffusers {name}", daemon=True)
        self.device = name
        self.cooldown = Cooldown()
        self.most: dict[tuple[Size, int], int] = {}
        self.told: dict[str, Any] = {}
        self.why = ""
        """Why the last try to load the model failed; empty where it is loaded, or nobody tried."""
        self._desk = desk
        self._inbox: Inbox = queue.SimpleQueue()
        self._child: Child | None = None
        self._calls = 0
        self._busy = False

    @property
    def unfit(self) -> str:
        """Why nothing can be painted here for now, empty where it can, or where it is time to try again."""
        return self.why if self.cooldown.remaining_s > 0 else ""

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child else None

    @property
    def idle(self) -> bool:
        return not self._busy

    def nudge(self) -> None:
        """Have it look up: somebody may have gone, or the desk closes."""
        self._inbox.put(({"event": NUDGE}, []))

    def run(self) -> None:
        try:
            while pieces := self._desk.take(self):
                self._busy = True
                try:
                    self._generate(pieces)
                except _Unfit as error:
                    self.why = str(error)
                    self.cooldown.start(self.why)
                    log.warning("%s: %s", self.device, self.why)
                    self._desk.found_unfit(pieces)
                except Exception as error:  # the thread's edge: whoever waits for these must hear of it
                    log.exception("%s: a call broke", self.device)
                    self._fail(pieces, Broken(f"internal error ({type(error).__name__})"))
                    if self._child:
                        self._child.end()
                        self._child = None
                finally:
                    self._busy = False
        finally:
            if self._child:
                self._child.end()

    def _generate(self, pieces: list[Piece]) -> None:
        """One call. Each piece is painted, failed or put back when this returns; raises _Unfit with none of that."""
        child = self._start()
        if self._desk.closing or all(piece.owner.gone for piece in pieces):
            self._desk.put_back(pieces)
            return
        self._calls += 1
        first = pieces[0]
        child.send(
            {
                "do": "paint",
                "call": self._calls,
                "prompts": [piece.prompt for piece in pieces],
                "seeds": [piece.seed for piece in pieces],
                "width": first.size.width,
                "height": first.size.height,
                "wanted": [piece.wanted for piece in pieces],
            },
            first.files,
        )
        ending = self._follow(child, pieces)
        left = [piece for piece in pieces if piece.share < 1]
        for piece in left:
            piece.share = 0.0
        match ending:
            case {"event": "done"}:
                self.cooldown.end()
                self._fail(left, Broken("the model left out a picture"))
            case {"event": "cancelled"}:
                self._desk.put_back(left)
            case {"event": "oom"}:
                self._too_large(left, ending["why"])
            case {"event": "failed", "why": why}:
                self._fail(left, Broken(why))
            case _:
                self._crashed(left, ending["why"])

    def _start(self) -> Child:
        """A process that has loaded the model: the one of before, or a new one. Raises _Unfit."""
        if self._child and self._child.alive:
            return self._child
        if self._child:
            log.warning(
                "the process of %s %s while it had nothing to do; it is replaced", self.device, self._child.end()
            )
        self._inbox = queue.SimpleQueue()
        try:
            settings = self._desk.work.settings()
        except Unavailable as error:
            raise _Unfit(error.message) from error
        child = self._child = Child(self._desk.work.command, self.device, self._inbox)
        child.send({"do": "load", "device": self.device.partition(":")[0], **settings})
        message = self._hear(self._desk.work.start_limit_s)
        if message["event"] == "loaded":
            self.told, self.why = message, ""
            log.info("%s: %s is loaded, process %d", self.device, settings["model"], child.pid)
            return child
        self._child = None
        ended = child.wait() if message["event"] == ENDED else child.end()
        if self._desk.closing:
            raise _Unfit(_CLOSED)
        if message["event"] == "silent":
            raise _Unfit(f"{settings['model']} was not loaded within {self._desk.work.start_limit_s:.0f} s")
        raise _Unfit(message.get("why") or f"the process of {self.device} {ended}, while it loaded {settings['model']}")

    def _follow(self, child: Child, pieces: list[Piece]) -> dict[str, Any]:
        """Pass on what comes of a call until it ends, and say how it did."""
        cancelled = False
        while True:
            message = self._hear(self._desk.work.hang_limit_s, nudged=not cancelled)
            match message["event"]:
                case "nudge":
                    if self._desk.closing:
                        return {"event": "cancelled"}
                    if all(piece.owner.gone for piece in pieces):
                        child.send({"do": "cancel", "call": self._calls})
                        cancelled = True
                case "progress":
                    for piece in pieces:
                        piece.share = max(piece.share, min(0.99, message["share"]))
                    for owner in {id(piece.owner): piece.owner for piece in pieces}.values():
                        owner.tell(Progress(message["share"]))
                case "picture":
                    piece = pieces[message["place"]]
                    piece.share = 1.0
                    pixels = np.frombuffer(message["pixels"], np.uint8).reshape(message["height"], message["width"], 3)
                    piece.owner.tell(GeneratedImage(piece.index, pixels, message["facts"]))
                case "ended":
                    self._child = None
                    return {"event": "crash", "why": f"the process of {self.device} {child.wait()}"}
                case "silent":
                    self._child = None
                    child.end()
                    hung_s = self._desk.work.hang_limit_s
                    return {"event": "crash", "why": f"the process of {self.device} took no step for {hung_s:.0f} s"}
                case _:
                    return message

    def _hear(self, limit_s: float, *, nudged: bool = False) -> dict[str, Any]:
        """The next message of the process, its file as `pixels`; `silent` after the limit; a nudge only where it is
        asked for or the desk closes."""
        end = time.monotonic() + limit_s
        while True:
            try:
                message, files = self._inbox.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return {"event": "silent"}
            if message["event"] != NUDGE or nudged or self._desk.closing:
                return message | ({"pixels": files[0]} if files else {})

    def _too_large(self, pieces: list[Piece], why: str) -> None:
        """So many did not fit: half as many from now on, or none at all."""
        first, count = pieces[0], len(pieces)
        if count == 1:
            size = f"{first.size.width}x{first.size.height}"
            told = f"a picture of {size} does not fit on {self.told.get('name', self.device)} ({why})"
            self._fail(pieces, Unavailable(f"{told}; a smaller max_pixels, offload or quantize helps"))
            return
        self.most[first.weight] = count // 2
        log.warning("%s: %d pictures of %s did not fit at once: %s", self.device, count, first.size, why)
        self._desk.put_back(pieces)

    def _crashed(self, pieces: list[Piece], why: str) -> None:
        """The process died: another one paints these, each alone, and none more often than twice."""
        log.warning("%s; it is replaced", why)
        self.cooldown.start(why)
        again = []
        for piece in pieces:
            if len(pieces) == 1:
                piece.crashes += 1
            piece.alone = True
            if piece.crashes >= _MOST_CRASHES:
                self._fail([piece], Broken(f"{why}, twice, with this picture"))
            else:
                again.append(piece)
        self._desk.put_back(again)

    def _fail(self, pieces: Sequence[Piece], error: Failed) -> None:
        for piece in pieces:
            piece.owner.tell(error)
