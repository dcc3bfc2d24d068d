"""framehouse backup | restore: the data folder in one file, and back.

A tar: `backup.json` (what it is), `database.dump` (pg_dump's own format), `framehouse.toml`, `files/…` (pictures and
references), and last `complete.json`, without which it was cut off. The database is read first and in one snapshot, so
every file that it names was there before.
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
from framehouse.cli.output import Problem, print_json
from framehouse.settings import CONFIG_NAME, Settings, load_settings

_ABOUT, _DUMP, _COMPLETE, _FILES = "backup.json", "database.dump", "complete.json", "files/"
_KEY = re.compile(r"files/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_FORMAT = 1
_MOST_TEXT_BYTES = 10_000_000
_STDIO = Path("-")


def back_up(file: Path, without_pictures: bool, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    settings = load_settings(config, data_dir=data_dir)
    embedded = _embedded(settings)
    if not embedded.exists:
        raise Problem(f"There is no database in {settings.data_dir} to back up. Is --data-dir right?")
    if file == _STDIO and (as_json or sys.stdout.isatty()):
        raise click.UsageError("A backup on stdout needs a pipe or a file behind it, and no --json.")
    folder = None if without_pictures else folder_of(settings.effective_storage_url)
    embedded.start()
    try:
        with _failures(f"Cannot write {file}"), _writing(file) as out, _progress(quiet=as_json) as progress:
            count = _write(out, settings, embedded, folder, config, progress)
    finally:
        embedded.stop()
    left_out = without_pictures or folder is None
    if as_json:
        print_json({"file": str(file), "files": count, "pictures": not left_out})
        return
    size = f"{file.stat().st_size / 1e6:,.1f} MB" if file != _STDIO else "on stdout"
    click.echo(f"Backed up the database and {count:,} files: {file}, {size}", err=True)
    if left_out and not without_pictures:
        click.echo(f"The pictures are in {settings.storage_url}: back them up there.", err=True)


def restore_backup(file: Path, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    settings = load_settings(config, data_dir=data_dir)
    embedded = _embedded(settings)
    if embedded.exists:
        raise Problem(
            f"{settings.data_dir} holds a database already. Restore into another folder with --data-dir, "
            f"or move {settings.data_dir / 'postgres'} away first."
        )
    with _failures(f"Cannot restore {file}"), _reading(file) as source, _progress(quiet=as_json) as progress:
        count = _read(source, settings, progress)
    if as_json:
        print_json({"data_dir": str(settings.data_dir), "files": count})
    else:
        click.echo(f"Restored the database and {count:,} files into {settings.data_dir}", err=True)
        click.echo(f"Start it: framehouse serve --data-dir {settings.data_dir}", err=True)


def _embedded(settings: Settings) -> EmbeddedPostgres:
    if settings.database_url:
        raise Problem(
            "This is for the embedded database, and FRAMEHOUSE_DATABASE_URL names another: "
            "back that one up with its own tools (pg_dump, snapshots)."
        )
    return EmbeddedPostgres(settings.data_dir)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise Problem(f"{what}: it is no backup, or damaged ({error}).") from error
    except EOFError as error:
        raise Problem(f"{what}: it was cut off.") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Problem(f"{what}: {error.strerror or error}.") from error


@contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as bar:
        yield bar, bar.add_task("Database", total=None)


def _digest(file: IO[bytes]) -> str:
    """The SHA-256 of a whole file, which is at its beginning afterwards."""
    file.seek(0)
    digest = hashlib.file_digest(cast("io.BufferedReader", file), "sha256").hexdigest()
    file.seek(0)
    return digest


# --- writing ---------------------------------------------------------------------------------------------------


@contextmanager
def _writing(file: Path) -> Iterator[IO[bytes]]:
    """A new file, for our eyes only, that is there when all is in it; or stdout."""
    if file == _STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists():
        raise Problem(f"{file} exists already. Choose another name; no backup is overwritten.")
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
    bar, row = progress
    began = datetime.now(UTC)
    toml = config or settings.data_dir / CONFIG_NAME
    about = {"format": _FORMAT, "framehouse": __version__, "migration": migrations()[-1][0], "made_at": str(began)}
    with tempfile.TemporaryFile() as dump, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        embedded.dump(dump)
        digest = _digest(dump)
        _add(tar, _ABOUT, io.BytesIO(json.dumps(about).encode()))
        _add(tar, _DUMP, dump, os.fstat(dump.fileno()).st_size)
        with suppress(FileNotFoundError):
            _add(tar, CONFIG_NAME, io.BytesIO(toml.read_bytes()))
        kept = list(_kept(folder, began.timestamp())) if folder else []
        bar.update(row, description="Pictures", total=sum(size for _, size in kept))
        count = 0
        for path, _ in kept:
            with suppress(FileNotFoundError), path.open("rb") as file:  # its time was over meanwhile
                _add(tar, f"{_FILES}{path.relative_to(folder or path)}", file, os.fstat(file.fileno()).st_size)
                count += 1
                bar.advance(row, file.tell())
        complete = {"files": count, "database_sha256": digest}
        _add(tar, _COMPLETE, io.BytesIO(json.dumps(complete).encode()))
    return count


def _kept(folder: Path, before: float) -> Iterator[tuple[Path, int]]:
    """Files with their sizes, but for those that came after the database was read: it knows nothing of them."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            with suppress(FileNotFoundError):
                found = path.stat()
                if found.st_mtime <= before + 1 and _KEY.fullmatch(f"{_FILES}{path.relative_to(folder)}"):
                    yield path, found.st_size


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int | None = None) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(cast("io.BytesIO", file).getbuffer()) if size is None else size
    member.mode = 0o600
    member.mtime = int(datetime.now(UTC).timestamp())
    tar.addfile(member, file)


# --- reading ---------------------------------------------------------------------------------------------------


@contextmanager
def _reading(file: Path) -> Iterator[IO[bytes]]:
    if file == _STDIO:
        yield sys.stdin.buffer
        return
    with file.open("rb") as source:
        yield source


def _read(source: IO[bytes], settings: Settings, progress: tuple[Progress, TaskID]) -> int:
    """Files go to their places at once, where doing so twice changes nothing. The database is filled beside its place
    and moved there when all was read: until then there is none, and restoring can begin anew."""
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
                    raise tarfile.ReadError("it does not begin as one" if number == 0 else f"it holds {member.name!r}")
                bar.update(row, description="Pictures" if count else "Database", advance=member.size)
                if member.name == _ABOUT:
                    _check_about(_json(content, member))
                elif member.name == _DUMP:
                    digest = _fill(embedded, content)
                elif member.name == CONFIG_NAME:
                    _keep_config(data_dir / CONFIG_NAME, content.read(_MOST_TEXT_BYTES))
                elif member.name == _COMPLETE:
                    complete = _json(content, member)
                elif _KEY.fullmatch(member.name) and ".." not in member.name.split("/"):
                    if folder:
                        _keep_file(folder / member.name.removeprefix(_FILES), content)
                    count += 1
                else:
                    raise tarfile.ReadError(f"it holds {member.name!r}")
        if complete is None:
            raise EOFError
        if complete != {"files": count, "database_sha256": digest}:
            raise tarfile.ReadError("its contents are not those that were written")
        embedded.move_to(data_dir)
    finally:
        embedded.stop()
        embedded.discard()
    return count


def _json(content: IO[bytes], member: tarfile.TarInfo) -> dict[str, Any]:
    try:
        found = json.loads(content.read(_MOST_TEXT_BYTES))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise tarfile.ReadError(f"{member.name} is not what it should be")
    return found


def _check_about(about: dict[str, Any]) -> None:
    made_by = f"It was made by Framehouse {about.get('framehouse', '?')}"
    if about.get("format") != _FORMAT or not isinstance(about.get("migration"), int):
        raise Problem(f"{made_by}, in a form that this one, {__version__}, does not know.")
    if about["migration"] > migrations()[-1][0]:
        raise Problem(f"{made_by}, which is newer than this one, {__version__}. Upgrade, then restore.")


def _fill(embedded: EmbeddedPostgres, content: IO[bytes]) -> str:
    """A new database of this dump; the dump's SHA-256."""
    with tempfile.TemporaryFile() as dump:
        shutil.copyfileobj(content, dump)
        digest = _digest(dump)
        embedded.start()
        embedded.load(dump)
        embedded.stop()
    return digest


def _keep_config(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() != content:
        click.echo(f"{path} stays as it is; the backup's is beside it: {path.name}.restored", err=True)
        path = path.with_name(path.name + ".restored")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _keep_file(path: Path, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(path.name + "#1")  # as the storage names what is not finished
    with part.open("wb") as file:
        shutil.copyfileobj(content, file)
    part.replace(path)
