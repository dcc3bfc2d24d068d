"""Weights from the Hugging Face hub into the cache that all of its programs share: resumed in the middle of a file,
and every byte checked.

Its own library starts a broken-off file from the beginning, and the files here have up to 10 GB; so the few endpoints
that it takes are asked here.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from framehouse.engines.diffusers.weights import INDEX, home_folder, parts_of, repository_folder

_AT_ONCE = 4
_TRIES = 5
_SILENCE_S = 30.0
_CHUNK_BYTES = 1 << 20
_SPARE_BYTES = 1_000_000_000
_KEPT_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja")
_VARIANTS = (".fp16.", ".bf16.", ".fp32.", ".non_ema.", ".ema.")


class PullFailed(Exception):
    """Weights could not be had; the message says why and what to do, in a sentence or two."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. `sha256` is empty for small ones, of which only git's own checksum is known."""

    path: str
    size_bytes: int
    blob_id: str
    sha256: str = ""

    @property
    def blob(self) -> str:
        """What the cache calls it."""
        return self.sha256 or self.blob_id


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came of it: where it is, its commit, and how many bytes came, of how many."""

    folder: Path
    revision: str
    fetched_bytes: int
    size_bytes: int


Told = Callable[[str, int, int], None]
"""What is done ("pulling" or "checking"), how many bytes of it, and of how many."""


async def pull(repository: str, revision: str, told: Told) -> Pulled:
    """Bring a repository's weights here, those that are not, and check all of them. A damaged file is removed, so that
    the next pull fetches it again. Raises PullFailed. Interrupted, it goes on where it was the next time."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    token = _token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = httpx.Timeout(_SILENCE_S)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(headers=headers, timeout=limits, follow_redirects=True)
        )
        hub = _Hub(client, endpoint, repository)
        commit, files = await hub.list_files(revision)
        folder = repository_folder(repository)
        blobs, snapshot = folder / "blobs", folder / "snapshots" / commit
        try:
            blobs.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_alone(blobs))
            missing = [file for file in files if not (blobs / file.blob).exists()]
            here = sum(_size(_partial(blobs, file)) for file in missing)
            _check_room(blobs, sum(file.size_bytes for file in missing) - here)
            total = sum(file.size_bytes for file in files)
            meter = _Meter(told, "pulling", total, total - sum(file.size_bytes for file in missing))
            fetched = await hub.fetch_all(missing, commit, blobs, meter)
            await asyncio.to_thread(
                _check, [f for f in files if f not in missing], blobs, _Meter(told, "checking", total)
            )
            for file in files:
                _link(blobs / file.blob, snapshot / file.path)
            reference = folder / "refs" / revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(commit)
        except OSError as error:
            raise PullFailed(f"Cannot write to {folder}: {error.strerror or error}.") from error
        return Pulled(snapshot, commit, fetched, total)


class _Meter:
    """Bytes as they come."""

    def __init__(self, told: Told, what: str, total: int, done: int = 0) -> None:
        self._told, self._what, self._total, self._done = told, what, total, done
        self.add(0)

    def add(self, count: int) -> None:
        self._done += count
        self._told(self._what, self._done, self._total)


class _Hub:
    """One repository of a hub."""

    def __init__(self, client: httpx.AsyncClient, endpoint: str, repository: str) -> None:
        self._client, self._endpoint, self._repository = client, endpoint, repository

    async def list_files(self, revision: str) -> tuple[str, list[RemoteFile]]:
        """The revision's commit, and the files that a pipeline or a single model is loaded from."""
        info = (await self._get(f"/api/models/{self._repository}/revision/{revision.replace('/', '%2F')}")).json()
        commit = str(info["sha"])
        found: dict[str, RemoteFile] = {}
        page: str | None = f"/api/models/{self._repository}/tree/{commit}?recursive=true"
        while page:
            answer = await self._get(page)
            for entry in answer.json():
                if entry["type"] == "file" and _is_safe(entry["path"]):
                    sha256 = entry["lfs"]["oid"] if entry.get("lfs") else ""
                    found[entry["path"]] = RemoteFile(entry["path"], entry["size"], entry["oid"], sha256)
            page = answer.links.get("next", {}).get("url")
        parts = [""]
        if INDEX in found:
            index = (await self._get(f"/{self._repository}/resolve/{commit}/{INDEX}")).json()
            parts = parts_of(index)
        wanted = [file for path, file in found.items() if _is_wanted(path, parts)]
        if not any(file.path.endswith(".safetensors") for file in wanted):
            raise PullFailed(f"{self._repository} has no safetensors files; only those are loaded here.")
        return commit, wanted

    async def fetch_all(self, files: list[RemoteFile], commit: str, blobs: Path, meter: _Meter) -> int:
        """All files, some at a time, large ones first; how many bytes came."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def fetch(file: RemoteFile) -> int:
            async with room:
                return await self._fetch(file, commit, blobs, meter)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(fetch(f)) for f in sorted(files, key=lambda f: -f.size_bytes)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return sum(task.result() for task in tasks)

    async def _fetch(self, file: RemoteFile, commit: str, blobs: Path, meter: _Meter) -> int:
        partial = _partial(blobs, file)
        begun = have = _usable(partial, file)
        meter.add(have)
        failures = 0
        while have < file.size_bytes or not partial.exists():
            before = have
            try:
                have += await self._more_of(file, commit, partial, have, meter)
            except httpx.TransportError as error:
                have = _usable(partial, file)
                failures = 0 if have > before else failures + 1
                if failures >= _TRIES:
                    raise self._away(error) from error
                await asyncio.sleep(failures)
        if not await asyncio.to_thread(_is_right, file, partial, None):
            partial.unlink()
            raise PullFailed(f"{file.path} came damaged and was removed. Pull again to fetch it anew.")
        partial.replace(blobs / file.blob)
        return have - begun

    async def _more_of(self, file: RemoteFile, commit: str, partial: Path, have: int, meter: _Meter) -> int:
        """Go on with a file until it ends or breaks off."""
        url = f"{self._endpoint}/{self._repository}/resolve/{commit}/{file.path}"
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        came = 0
        async with self._client.stream("GET", url, headers=headers) as answer:
            self._check_status(answer)
            whole = answer.status_code == 200  # it knows no ranges: from the beginning
            if whole and have:
                meter.add(-have)
                came = -have
            with partial.open("wb" if whole else "ab") as out:
                async for chunk in answer.aiter_raw():
                    out.write(chunk)
                    came += len(chunk)
                    meter.add(len(chunk))
                    if have + came > file.size_bytes:
                        break
        if have + came != file.size_bytes:
            raise httpx.RemoteProtocolError(f"{file.path} has another size than the hub says")
        return came

    async def _get(self, path: str) -> httpx.Response:
        url = path if path.startswith("http") else f"{self._endpoint}{path}"
        for attempt in range(1, _TRIES + 1):
            try:
                answer = await self._client.get(url)
                self._check_status(answer)
                return answer
            except httpx.ConnectError as error:
                raise self._away(error) from error
            except httpx.TransportError as error:
                if attempt == _TRIES:
                    raise self._away(error) from error
                await asyncio.sleep(attempt)
        raise AssertionError

    def _check_status(self, answer: httpx.Response) -> None:
        code = answer.headers.get("X-Error-Code", "")
        if code == "GatedRepo" or (answer.status_code == 403):
            raise PullFailed(
                f"{self._repository} is gated: accept its licence on {self._endpoint}/{self._repository}, "
                "make a token there, and set HF_TOKEN to it."
            )
        if code == "RevisionNotFound":
            raise PullFailed(f"{self._repository} has no such revision.")
        if answer.status_code in (401, 404):
            raise PullFailed(
                f"There is no {self._repository} on {self._endpoint}, or it is private: "
                "check the name, or set HF_TOKEN."
            )
        if answer.status_code == 429 or answer.status_code >= 500:
            raise httpx.RemoteProtocolError(f"HTTP {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise PullFailed(f"{self._endpoint} answered HTTP {answer.status_code}.")

    def _away(self, error: httpx.TransportError) -> PullFailed:
        why = str(error) or type(error).__name__
        return PullFailed(f"Cannot reach {self._endpoint} ({why}). What came is kept; pull again to go on.")


@contextmanager
def _alone(blobs: Path) -> Iterator[None]:
    """Two that wrote into one file would ruin it. Raises PullFailed where another one pulls the same."""
    with (blobs / ".pulling").open("w") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PullFailed("Another pull of the same repository is under way.") from None
        yield


def _token() -> str:
    if token := os.environ.get("HF_TOKEN"):
        return token.strip()
    path = os.environ.get("HF_TOKEN_PATH") or home_folder() / "token"
    with suppress(OSError):
        return Path(path).expanduser().read_text().strip()
    return ""


def _is_safe(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/") and "\\" not in path


def _is_wanted(path: str, parts: list[str]) -> bool:
    """A pipeline's parts and what describes it; not the same weights once more for other programs."""
    folder, _, name = path.rpartition("/")
    if not name.endswith(_KEPT_SUFFIXES) or any(variant in name for variant in _VARIANTS):
        return False
    return folder in parts or (not folder and name.endswith(".json"))


def _check_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted + _SPARE_BYTES > free:
        raise PullFailed(
            f"Too little disk: {(wanted + _SPARE_BYTES) / 1e9:.1f} GB are needed in {folder}, "
            f"and {free / 1e9:.1f} GB are free. HF_HOME chooses another place."
        )


def _check(files: list[RemoteFile], blobs: Path, meter: _Meter) -> None:
    """Files that were here before. Raises PullFailed for damaged ones, which are gone then."""
    damaged = [file for file in files if not _is_right(file, blobs / file.blob, meter)]
    for file in damaged:
        (blobs / file.blob).unlink()
    if damaged:
        names = ", ".join(file.path for file in damaged)
        raise PullFailed(f"Damaged, and removed: {names}. Pull again to fetch it anew.")


def _is_right(file: RemoteFile, path: Path, meter: "_Meter | None") -> bool:
    """Whether a file is what the hub says it is: its size, and its SHA-256 or what git makes of it."""
    if _size(path) != file.size_bytes:
        return False
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
    if not file.sha256:
        digest.update(f"blob {file.size_bytes}\0".encode())
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
            if meter:
                meter.add(len(chunk))
    return digest.hexdigest() == file.blob


def _partial(blobs: Path, file: RemoteFile) -> Path:
    return blobs / f"{file.blob}.incomplete"


def _usable(partial: Path, file: RemoteFile) -> int:
    """How much of a file is here already; what is longer than the whole is of no use, and removed."""
    if _size(partial) > file.size_bytes:
        partial.unlink()
    return _size(partial)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _link(blob: Path, path: Path) -> None:
    """As the hub's library does it: a relative link, or a copy where the disk knows no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        shutil.copyfile(blob, path)
