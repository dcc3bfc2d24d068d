"""The implementation of `framehouse backup` and `framehouse restore`.

A backup is a tar file with these members, in this order: `backup.json` (format and versions), `database.dump` (in
pg_dump's custom format), `framehouse.toml` (if the file exists), `files/…` (images and references) and
`complete.json`. A backup without `complete.json` is incomplete. A header of each member contains the SHA-256 digest of
its content. Backups that older versions created do not have these headers.

The database is dumped in one snapshot, and the files are copied after the dump. Framehouse stores every file before it
writes the row that refers to the file. Therefore, the backup contains all files to which the dump refers. The only
exceptions are files that expire and are deleted between the dump and the copy.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from framehouse import __version__
from framehouse.adapters.postgres.embedded import EmbeddedPostgres, make_data_dir
from framehouse.adapters.postgres.migrate import migrations
from framehouse.adapters.storage import folder_of
from framehouse.cli.output import Problem, echo, print_json
from framehouse.settings import CONFIG_NAME, Settings, load_settings

_ABOUT, _DUMP, _COMPLETE, _FILES = "backup.json", "database.dump", "complete.json", "files/"
_KEY = re.compile(r"files/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_FORMAT = 1
_MAX_TEXT_BYTES = 10_000_000
_SHA256 = "FRAMEHOUSE.sha256"
"""The name of the pax header with the digest of a member. Other programs ignore pax headers with vendor names."""
_STDIO = Path("-")


def back_up(file: Path, without_images: bool, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    settings = load_settings(config, data_dir=data_dir)
    embedded = _embedded(settings)
    if not embedded.exists:
        raise Problem(f"The folder {settings.data_dir} contains no database to back up. Check --data-dir.")
    if file == _STDIO and (as_json or sys.stdout.isatty()):
        raise click.UsageError("to write a backup to stdout, redirect stdout to a file or a pipe and do not use --json")
    folder = None if without_images else folder_of(settings.effective_storage_url)
    embedded.start()
    try:
        with _explain_errors(f"Cannot write {file}"), _open_output(file) as out, _progress(quiet=as_json) as progress:
            count = _write(out, settings, embedded, folder, config, progress)
    finally:
        embedded.stop()
    left_out = without_images or folder is None
    if as_json:
        print_json({"file": str(file), "files": count, "pictures": not left_out})
        return
    destination = f"{file} ({file.stat().st_size / 1e6:,.1f} MB)" if file != _STDIO else "stdout"
    echo(f"Backed up the database and {count:,} files to {destination}", err=True)
    if left_out and not without_images:
        echo(f"The backup contains no images. To back up the images, copy {settings.storage_url}.", err=True)


def restore_backup(file: Path, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    settings = load_settings(config, data_dir=data_dir)
    embedded = _embedded(settings)
    if embedded.exists:
        raise Problem(
            f"{settings.data_dir} already contains a database. Restore into another folder with --data-dir, "
            f"or first move {settings.data_dir / 'postgres'} to another place."
        )
    with _explain_errors(f"Cannot restore {file}"), _open_input(file) as source, _progress(quiet=as_json) as progress:
        count = _read(source, settings, progress)
    if as_json:
        print_json({"data_dir": str(settings.data_dir), "files": count})
    else:
        echo(f"Restored the database and {count:,} files into {settings.data_dir}", err=True)
        echo(f"To start the server: framehouse serve --data-dir {settings.data_dir}", err=True)


def _embedded(settings: Settings) -> EmbeddedPostgres:
    if settings.database_url:
        raise Problem(
            "This command supports only the embedded database, but FRAMEHOUSE_DATABASE_URL is set. "
            "Use the tools of your database, such as pg_dump or snapshots."
        )
    return EmbeddedPostgres(settings.data_dir)


@contextmanager
def _explain_errors(action: str) -> Iterator[None]:
    """Convert TarError, EOFError and OSError to Problem. `action` is the beginning of the message.

    A BrokenPipeError is not converted, because `commands.run` handles this error.
    """
    try:
        yield
    except tarfile.TarError as error:
        raise Problem(f"{action}: the file is damaged or is not a backup ({error}).") from error
    except EOFError as error:
        raise Problem(f"{action}: the file is incomplete.") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Problem(f"{action}: {error.strerror or error}.") from error


@contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as bar:
        yield bar, bar.add_task("Database", total=None)


def _digest(file: IO[bytes]) -> str:
    """Return the SHA-256 digest of an entire file in hexadecimal, and rewind the file."""
    file.seek(0)
    digest = hashlib.file_digest(cast("io.BufferedReader", file), "sha256").hexdigest()
    file.seek(0)
    return digest


# --- writing ---------------------------------------------------------------------------------------------------


@contextmanager
def _open_output(file: Path) -> Iterator[IO[bytes]]:
    """Open stdout, or create a file that only its owner can read.

    The data is first written to a file with the suffix `.part`. After all data is on disk, this file is renamed. If
    writing fails, the file is removed. Raises Problem if `file` already exists.
    """
    if file == _STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists():
        raise Problem(f"{file} already exists. Choose another name; existing files are not overwritten.")
    part = file.with_name(file.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)


def _write(
    out: IO[bytes],
    settings: Settings,
    embedded: EmbeddedPostgres,
    folder: Path | None,
    config: Path | None,
    progress: tuple[Progress, TaskID],
) -> int:
    """Write a backup. Returns the number of image and reference files in the backup.

    `folder` is the folder that contains the images and references. If `folder` is None, the backup contains no images
    or references.
    """
    bar, row = progress
    began = datetime.now(UTC)
    toml = config or settings.data_dir / CONFIG_NAME
    about = {"format": _FORMAT, "framehouse": __version__, "migration": migrations()[-1][0], "made_at": str(began)}
    with tempfile.TemporaryFile() as dump, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        embedded.dump(dump)
        digest = _digest(dump)
        _add(tar, _ABOUT, io.BytesIO(json.dumps(about).encode()))
        _add(tar, _DUMP, dump)
        with suppress(FileNotFoundError):
            _add(tar, CONFIG_NAME, io.BytesIO(toml.read_bytes()))
        files = list(_files_before(folder, began.timestamp())) if folder else []
        bar.update(row, description="Images", total=sum(size for _, size in files))
        count = 0
        for path, _ in files:
            with suppress(FileNotFoundError), path.open("rb") as file:  # the file may have expired and been deleted
                _add(tar, f"{_FILES}{path.relative_to(folder or path)}", file)
                count += 1
                bar.advance(row, file.tell())
        complete = {"files": count, "database_sha256": digest}
        _add(tar, _COMPLETE, io.BytesIO(json.dumps(complete).encode()))
    return count


def _files_before(folder: Path, start: float) -> Iterator[tuple[Path, int]]:
    """Yield the files to back up, and their sizes in bytes. `start` is the start of the backup as a Unix timestamp.

    Files that were changed more than 1 s after the start are omitted, because the database dump does not refer to these
    files. Files whose paths are not storage keys, such as unfinished files, are also omitted.
    """
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                status = path.stat()
                if status.st_mtime <= start + 1 and _KEY.fullmatch(f"{_FILES}{path.relative_to(folder)}"):
                    yield path, status.st_size


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.pax_headers = {_SHA256: _digest(file)}
    member.size = file.seek(0, io.SEEK_END)
    file.seek(0)
    member.mode = 0o600
    member.mtime = int(datetime.now(UTC).timestamp())
    tar.addfile(member, file)


# --- reading ---------------------------------------------------------------------------------------------------


@contextmanager
def _open_input(file: Path) -> Iterator[IO[bytes]]:
    if file == _STDIO:
        yield sys.stdin.buffer
        return
    with file.open("rb") as source:
        yield source


def _read(source: IO[bytes], settings: Settings, progress: tuple[Progress, TaskID]) -> int:
    """Restore a backup. Returns the number of image and reference files in the backup.

    The image and reference files are written directly to their final locations, because a repeated restore can
    overwrite them. The database is first loaded into the folder `restoring`. After the entire backup has been read and
    verified, the database is moved to its final location. If the restore is killed before that step, the data folder
    contains no database, and the restore can be repeated.

    If the storage is a bucket, the files in the backup are counted but not written. Raises TarError if the backup is
    damaged, EOFError if the backup is incomplete, and Problem if this version cannot restore the backup.
    """
    bar, row = progress
    data_dir, folder = settings.data_dir.resolve(), folder_of(settings.effective_storage_url)
    make_data_dir(data_dir)
    if folder:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    embedded = EmbeddedPostgres(data_dir / "restoring")
    embedded.discard()
    count, complete, digest = 0, None, ""
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for number, member in enumerate(tar):
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or (number == 0) != (member.name == _ABOUT):
                    raise tarfile.ReadError(f"{_ABOUT} is not the first entry" if number == 0 else _unexpected(member))
                bar.update(row, description="Images" if count else "Database", advance=member.size)
                if member.name == _ABOUT:
                    _check_about(_json(content, member))
                elif member.name == _DUMP:
                    digest = _load_database(embedded, content)
                elif member.name == CONFIG_NAME:
                    settings_file = content.read(_MAX_TEXT_BYTES)
                    _check_digest(member, hashlib.sha256(settings_file).hexdigest())
                    _restore_config(data_dir / CONFIG_NAME, settings_file)
                elif member.name == _COMPLETE:
                    complete = _json(content, member)
                elif _KEY.fullmatch(member.name) and ".." not in member.name.split("/"):
                    if folder:
                        _restore_file(folder / member.name.removeprefix(_FILES), content, member)
                    count += 1
                else:
                    raise tarfile.ReadError(_unexpected(member))
        if complete is None:
            raise EOFError
        if complete != {"files": count, "database_sha256": digest}:
            raise tarfile.ReadError("the number of files or the checksum of the database does not match")
        embedded.move_to(data_dir)
    finally:
        embedded.stop()
        embedded.discard()
    return count


def _unexpected(member: tarfile.TarInfo) -> str:
    return f"unexpected entry {json.dumps(member.name)}"


def _json(content: IO[bytes], member: tarfile.TarInfo) -> dict[str, Any]:
    try:
        value = json.loads(content.read(_MAX_TEXT_BYTES))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise tarfile.ReadError(f"{member.name} is not a JSON object")
    return value


def _check_about(about: dict[str, Any]) -> None:
    """Raise Problem if this version cannot restore the backup."""
    origin = f"The backup was created by Framehouse {about.get('framehouse', '?')}"
    if about.get("format") != _FORMAT or not isinstance(about.get("migration"), int):
        raise Problem(f"{origin} in a format that this version, {__version__}, does not support.")
    if about["migration"] > migrations()[-1][0]:
        raise Problem(f"{origin}, which is newer than this version, {__version__}. Upgrade Framehouse, then restore.")


def _load_database(embedded: EmbeddedPostgres, content: IO[bytes]) -> str:
    """Create a database from a dump. Returns the SHA-256 digest of the dump in hexadecimal."""
    with tempfile.TemporaryFile() as dump:
        shutil.copyfileobj(content, dump)
        digest = _digest(dump)
        embedded.start()
        embedded.load(dump)
        embedded.stop()
    return digest


def _restore_config(path: Path, content: bytes) -> None:
    """Write the settings to `path`.

    If `path` already contains different settings, that file is not changed, and the settings are written to a file with
    the suffix `.restored`.
    """
    if path.exists() and path.read_bytes() != content:
        echo(f"{path} was not changed. The settings from the backup were written to {path.name}.restored", err=True)
        path = path.with_name(path.name + ".restored")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _restore_file(path: Path, content: IO[bytes], member: tarfile.TarInfo) -> None:
    """Write a file, unless its content is damaged. Raises TarError if it is damaged."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # the storage recognizes partial files by the suffix `#1`, and later deletes them
    part = path.with_name(path.name + "#1")
    try:
        with part.open("w+b") as file:
            shutil.copyfileobj(content, file)
            _check_digest(member, _digest(file))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _check_digest(member: tarfile.TarInfo, digest: str) -> None:
    """Raise TarError if the digest of a member's content is not the digest in its header."""
    if member.pax_headers.get(_SHA256, digest) != digest:
        raise tarfile.ReadError(f"the checksum of {member.name} does not match")
