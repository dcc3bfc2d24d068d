"""Download weights from the Hugging Face hub into the cache that all Hugging Face programs share.

This module resumes an interrupted download in the middle of a file, and verifies the checksum of every file. The
`huggingface_hub` library downloads an interrupted file again from its beginning, and a file can be as large as 10 GB.
Therefore this module does not use the library, but calls the few endpoints of the hub that a download needs.
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

from framehouse.engines.diffusers.weights import INDEX, home_folder, pipeline_parts, repository_folder

_PARALLEL_DOWNLOADS = 4
_MAX_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20
_SPARE_BYTES = 1_000_000_000
_NEEDED_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja")
_VARIANTS = (".fp16.", ".bf16.", ".fp32.", ".non_ema.", ".ema.")


class PullFailed(Exception):
    """Raised when weights cannot be downloaded. The message states the reason, and the fix if there is one."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. For a small file, the hub provides only git's own checksum, and `sha256` is empty."""

    path: str
    size_bytes: int
    blob_id: str
    sha256: str = ""

    @property
    def blob(self) -> str:
        """The name of the file in the cache."""
        return self.sha256 or self.blob_id


@dataclass(frozen=True, slots=True)
class Pulled:
    """The result of `pull`: the folder, the commit, the number of downloaded bytes, and the total size in bytes."""

    folder: Path
    revision: str
    fetched_bytes: int
    size_bytes: int


OnProgress = Callable[[str, int, int], None]
"""A function that receives the step ("pulling" or "checking"), the number of processed bytes, and the total number of
bytes."""


async def pull(repository: str, revision: str, on_progress: OnProgress, *, only: str = "") -> Pulled:
    """Download the missing files of a repository and verify all files. Raises PullFailed.

    If `only` is the path of a file in the repository, the function downloads no other files.

    A damaged file is removed, so that the next pull downloads the file again. After an interruption, the next pull
    continues after the last byte that was written.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    token = _token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = httpx.Timeout(_TIMEOUT_S)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(headers=headers, timeout=timeout, follow_redirects=True)
        )
        hub = _Hub(client, endpoint, repository)
        commit, files = await hub.list_files(revision, only)
        folder = repository_folder(repository)
        blobs, snapshot = folder / "blobs", folder / "snapshots" / commit
        try:
            blobs.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_lock(blobs))
            missing = [file for file in files if not (blobs / file.blob).exists()]
            partial_bytes = sum(_size(_partial(blobs, file)) for file in missing)
            _check_disk_space(blobs, sum(file.size_bytes for file in missing) - partial_bytes)
            total = sum(file.size_bytes for file in files)
            meter = _Meter(on_progress, "pulling", total, total - sum(file.size_bytes for file in missing))
            fetched = await hub.fetch_all(missing, commit, blobs, meter)
            await asyncio.to_thread(
                _verify, [f for f in files if f not in missing], blobs, _Meter(on_progress, "checking", total)
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
    """A counter for the processed bytes of a step. The counter calls `on_progress` after each change."""

    def __init__(self, on_progress: OnProgress, step: str, total: int, done: int = 0) -> None:
        self._on_progress, self._step, self._total, self._done = on_progress, step, total, done
        self.add(0)

    def add(self, count: int) -> None:
        self._done += count
        self._on_progress(self._step, self._done, self._total)


class _Hub:
    """A client for one repository on a hub."""

    def __init__(self, client: httpx.AsyncClient, endpoint: str, repository: str) -> None:
        self._client, self._endpoint, self._repository = client, endpoint, repository

    async def list_files(self, revision: str, only: str = "") -> tuple[str, list[RemoteFile]]:
        """Return the commit of the revision, and the files that the repository's pipeline or single model needs.

        If `only` is not empty, only this file is returned.

        A repository without a pipeline contains a single model, such as an upscaler.
        """
        info = (await self._get(f"/api/models/{self._repository}/revision/{revision.replace('/', '%2F')}")).json()
        commit = str(info["sha"])
        files: dict[str, RemoteFile] = {}
        page: str | None = f"/api/models/{self._repository}/tree/{commit}?recursive=true"
        while page:
            answer = await self._get(page)
            for entry in answer.json():
                if entry["type"] == "file" and _is_safe(entry["path"]):
                    sha256 = entry["lfs"]["oid"] if entry.get("lfs") else ""
                    files[entry["path"]] = RemoteFile(entry["path"], entry["size"], entry["oid"], sha256)
            page = answer.links.get("next", {}).get("url")
        if only:
            if only not in files:
                raise PullFailed(f"{self._repository} contains no file {only}.")
            return commit, [files[only]]
        parts = [""]
        if INDEX in files:
            index = (await self._get(f"/{self._repository}/resolve/{commit}/{INDEX}")).json()
            parts = pipeline_parts(index)
        needed = [file for path, file in files.items() if _is_needed(path, parts)]
        if not any(file.path.endswith(".safetensors") for file in needed):
            raise PullFailed(f"{self._repository} has no safetensors files. Framehouse supports no other format.")
        return commit, needed

    async def fetch_all(self, files: list[RemoteFile], commit: str, blobs: Path, meter: _Meter) -> int:
        """Download files concurrently, the largest files first. Returns the number of received bytes."""
        downloads = asyncio.Semaphore(_PARALLEL_DOWNLOADS)

        async def fetch(file: RemoteFile) -> int:
            async with downloads:
                return await self._fetch(file, commit, blobs, meter)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(fetch(f)) for f in sorted(files, key=lambda f: -f.size_bytes)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return sum(task.result() for task in tasks)

    async def _fetch(self, file: RemoteFile, commit: str, blobs: Path, meter: _Meter) -> int:
        partial = _partial(blobs, file)
        start = received = _usable_bytes(partial, file)
        meter.add(received)
        failures = 0
        while received < file.size_bytes or not partial.exists():
            before = received
            try:
                received += await self._continue_download(file, commit, partial, received, meter)
            except httpx.TransportError as error:
                received = _usable_bytes(partial, file)
                failures = 0 if received > before else failures + 1
                if failures >= _MAX_ATTEMPTS:
                    raise self._unreachable(error) from error
                await asyncio.sleep(failures)
        if not await asyncio.to_thread(_is_intact, file, partial, None):
            partial.unlink()
            raise PullFailed(f"{file.path} was damaged and was removed. Pull again to download it.")
        partial.replace(blobs / file.blob)
        return received - start

    async def _continue_download(
        self, file: RemoteFile, commit: str, partial: Path, received: int, meter: _Meter
    ) -> int:
        """Download the part of a file after its first `received` bytes. Returns the growth of the file in bytes.

        If the hub ignores the requested range, the partial file is written again from its beginning. Raises
        httpx.TransportError if the connection breaks, or if the size of the file differs from the size that the hub
        lists.
        """
        url = f"{self._endpoint}/{self._repository}/resolve/{commit}/{file.path}"
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
        growth = 0
        async with self._client.stream("GET", url, headers=headers) as answer:
            self._check_status(answer)
            from_beginning = answer.status_code == 200  # no range was requested, or the hub ignored the range
            if from_beginning and received:
                meter.add(-received)
                growth = -received
            with partial.open("wb" if from_beginning else "ab") as out:
                async for chunk in answer.aiter_raw():
                    out.write(chunk)
                    growth += len(chunk)
                    meter.add(len(chunk))
                    if received + growth > file.size_bytes:
                        break
        if received + growth != file.size_bytes:
            raise httpx.RemoteProtocolError(f"{file.path} does not have the size that the hub lists")
        return growth

    async def _get(self, path: str) -> httpx.Response:
        url = path if path.startswith("http") else f"{self._endpoint}{path}"
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                answer = await self._client.get(url)
                self._check_status(answer)
                return answer
            except httpx.ConnectError as error:
                raise self._unreachable(error) from error
            except httpx.TransportError as error:
                if attempt == _MAX_ATTEMPTS:
                    raise self._unreachable(error) from error
                await asyncio.sleep(attempt)
        raise AssertionError

    def _check_status(self, answer: httpx.Response) -> None:
        """Raise RemoteProtocolError for an error status after which a retry can succeed, and PullFailed for all other
        error statuses."""
        code = answer.headers.get("X-Error-Code", "")
        if code == "GatedRepo" or (answer.status_code == 403):
            raise PullFailed(
                f"{self._repository} is gated: accept its licence on {self._endpoint}/{self._repository}, "
                "create an access token in your account, and set HF_TOKEN to the token."
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
            raise PullFailed(f"{self._endpoint} responded with HTTP {answer.status_code}.")

    def _unreachable(self, error: httpx.TransportError) -> PullFailed:
        reason = str(error) or type(error).__name__
        return PullFailed(
            f"Cannot reach {self._endpoint} ({reason}). Downloaded data is kept. Pull again to resume the download."
        )


@contextmanager
def _lock(blobs: Path) -> Iterator[None]:
    """Prevent other pulls of the repository, because two pulls that write to the same file would damage the file.

    Raises PullFailed if another pull is running.
    """
    with (blobs / ".pulling").open("w") as lock_file:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PullFailed("Another pull of the same repository is running.") from None
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


def _is_needed(path: str, parts: list[str]) -> bool:
    """Return whether the file belongs to a part of the pipeline or describes the pipeline.

    Copies of the same weights in other formats or for other programs are not needed.
    """
    folder, _, name = path.rpartition("/")
    if not name.endswith(_NEEDED_SUFFIXES) or any(variant in name for variant in _VARIANTS):
        return False
    return folder in parts or (not folder and name.endswith(".json"))


def _check_disk_space(folder: Path, needed_bytes: int) -> None:
    """Raise PullFailed if less than `needed_bytes` plus 1 GB is free."""
    free = shutil.disk_usage(folder).free
    if needed_bytes + _SPARE_BYTES > free:
        raise PullFailed(
            f"Not enough disk space: {(needed_bytes + _SPARE_BYTES) / 1e9:.1f} GB are needed in {folder}, "
            f"and {free / 1e9:.1f} GB are free. Set HF_HOME to store the weights elsewhere."
        )


def _verify(files: list[RemoteFile], blobs: Path, meter: _Meter) -> None:
    """Verify the files that were in the cache before the pull.

    If some of these files are damaged, the function removes them and raises PullFailed.
    """
    damaged = [file for file in files if not _is_intact(file, blobs / file.blob, meter)]
    for file in damaged:
        (blobs / file.blob).unlink()
    if damaged:
        names = ", ".join(file.path for file in damaged)
        raise PullFailed(f"Damaged files were removed: {names}. Pull again to download them.")


def _is_intact(file: RemoteFile, path: Path, meter: "_Meter | None") -> bool:
    """Return whether a file has the size and the checksum that the hub lists.

    The checksum is SHA-256, or git's checksum for a small file.
    """
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


def _usable_bytes(partial: Path, file: RemoteFile) -> int:
    """Return the size of a partial file. If it is longer than the complete file, remove it and return 0."""
    if _size(partial) > file.size_bytes:
        partial.unlink()
    return _size(partial)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _link(blob: Path, path: Path) -> None:
    """Create a relative symbolic link, as `huggingface_hub` does, or a copy if links are not supported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        shutil.copyfile(blob, path)
