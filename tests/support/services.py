"""The services that many machines share, as real programs: the system's PostgreSQL and PgBouncer, and an S3 server.

Each service runs in a temporary folder. It can be stopped and started again without losing its data, and is deleted at
the end. PostgreSQL and the S3 server run on any address, optionally with a command prefix (`ip netns exec NAME`).
PgBouncer runs on 127.0.0.1. The S3 server is s3rver from npm.
Unlike moto, it keeps its files over a restart, and refuses unknown access keys and expired presigned URLs. It does not
verify signatures of version 4: it accepts a wrong secret and a modified URL.
"""

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.support import process_tree
from tests.support.sockets import free_port
from tests.support.system_packages import skip_missing

ROOT = Path(__file__).parents[2]
S3RVER = "s3rver@3.7.1"
S3_KEY = "S3RVER"
"""The only access key that s3rver accepts; it is also the secret."""
BUCKET = "test-bucket"
USER, PASSWORD = "framehouse", "a secret: of/20 %signs"
_READY_S = 90


@dataclass
class Service:
    """A running program. It can be stopped and started again, or killed as by a power failure."""

    command: list[str]
    ready: Callable[[], bool]
    log: Path
    address: tuple[str, int]
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    log_start: int = 0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=os.environ | self.environment,
            )
        end = time.monotonic() + _READY_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self.command[0]} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill the program and its descendants.

        PostgreSQL's child processes keep its shared memory in use, so a new start would fail while they run.
        """
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # a stopped program cannot start further processes
            process_tree.kill([*process_tree.descendants(self.process.pid), self.process.pid])
            self.process.wait()


@dataclass
class Postgres(Service):
    def start(self) -> None:
        for attempts_left in reversed(range(20)):
            try:
                super().start()
                return
            except RuntimeError:  # the last processes of a killed server may still be exiting
                if not attempts_left:
                    raise
            time.sleep(0.2)

    def url(self, database: str = "framehouse", *, user: str = USER, password: str = PASSWORD) -> str:
        host, port = self.address
        return f"postgresql://{user}:{quote(password, safe='')}@{host}:{port}/{database}"


@dataclass
class S3(Service):
    @property
    def variables(self) -> dict[str, str]:
        """The environment variables for processes that use the bucket."""
        return {
            "AWS_ACCESS_KEY_ID": S3_KEY,
            "AWS_SECRET_ACCESS_KEY": S3_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self.address[0]}:{self.address[1]}",
            "AWS_ALLOW_HTTP": "true",
        }

    def url(self, prefix: str = "") -> str:
        return f"s3://{BUCKET}/{prefix}".rstrip("/")


@contextmanager
def postgres(
    host: str = "127.0.0.1",
    *,
    port: int = 0,
    prefix: Sequence[str] = (),
    tls: tuple[str, str] | None = None,
) -> Iterator[Postgres]:
    """Run PostgreSQL from the system's packages, with a password and the database `framehouse`.

    `tls` contains a certificate and its key.
    """
    programs = _postgres_programs()
    port = port or free_port()
    with _folder() as folder:
        data, ready = folder / "data", [str(programs / "pg_isready"), "-q", "-h", str(folder), "-p", str(port)]
        password = folder / "password"
        password.write_text(PASSWORD)
        initdb = [programs / "initdb", "-D", data, "-U", USER, "--pwfile", password, "--encoding=UTF8", "--locale=C"]
        _run(_unprivileged([*map(str, initdb), "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]))
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
        if tls:
            for name, text in zip(("server.crt", "server.key"), tls, strict=True):
                (data / name).write_text(text)
                (data / name).chmod(0o600)
                if user := _user():
                    os.chown(data / name, user.pw_uid, user.pw_gid)
        options = {
            "ssl": "on" if tls else "off",
            "listen_addresses": host,
            "port": str(port),
            "unix_socket_directories": str(folder),
            "max_connections": "200",
            "timezone": "UTC",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        command = [*prefix, *_unprivileged([str(programs / "postgres"), "-D", str(data), *words])]
        server = Postgres(
            command,
            lambda: subprocess.run(ready, check=False).returncode == 0,
            folder / "log",
            (host, port),
            stop_signal=signal.SIGINT,
        )
        server.start()
        try:
            _run([str(programs / "createdb"), "-h", str(folder), "-p", str(port), "-U", USER, "framehouse"])
            yield server
        finally:
            server.stop()


@contextmanager
def pgbouncer(server: Postgres, *, connections: int = 20) -> Iterator[Postgres]:
    """Run PgBouncer in transaction mode in front of a server, with `connections` server connections per database."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        skip_missing("PgBouncer", "pgbouncer")
    host, port = "127.0.0.1", free_port()
    with _folder() as folder:
        (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.address[0]} port={server.address[1]}\n"
            f"[pgbouncer]\nlisten_addr = {host}\nlisten_port = {port}\nunix_socket_dir = {folder}\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = transaction\nmax_client_conn = 500\n"
            f"default_pool_size = {connections}\nserver_login_retry = 1\nadmin_users = {USER}\n"
        )
        pooler = Postgres(
            _unprivileged([program, str(folder / "pgbouncer.ini")]),
            lambda: _accepts(folder / f".s.PGSQL.{port}"),
            folder / "log",
            (host, port),
            stop_signal=signal.SIGINT,
        )
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.kill()  # a stopped PgBouncer would wait for its clients


@contextmanager
def s3(host: str = "127.0.0.1", *, port: int = 0, prefix: Sequence[str] = ()) -> Iterator[S3]:
    """Run an S3 server over HTTP with one empty bucket."""
    program = _s3rver()
    port = port or free_port()
    with _folder() as folder:
        files = folder / "files"
        words = ["-d", str(files), "-a", host, "-p", str(port), "--configure-bucket", BUCKET]
        environment = {"NODE_NO_WARNINGS": "1"}
        server = S3([*prefix, *program, *words], lambda: False, folder / "log", (host, port), environment)
        server.ready = lambda: _has_logged(server, "listening on")
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _has_logged(server: Service, words: str) -> bool:
    """Whether the log contains the words since the last start.

    A connection cannot be used for this check, because the server may run in another network namespace.
    """
    return words.encode() in server.log.read_bytes()[server.log_start :]


def _s3rver() -> list[str]:
    """The command for s3rver. The first call installs it; a lock makes the other test processes wait."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        skip_missing("Node.js with npm", "nodejs npm")
    folder = ROOT / ".cache" / "s3rver"
    program = folder / "node_modules" / "s3rver" / "bin" / "s3rver.js"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            _run([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), S3RVER])
            (folder / "installed").touch()
    return [node, str(program)]


def _postgres_programs() -> Path:
    """The folder of the system's newest PostgreSQL. All other tests use the PostgreSQL of the wheel."""
    folders = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not folders:
        skip_missing("PostgreSQL", "postgresql")
    return max(folders, key=lambda p: int(p.parent.name))


def _user() -> pwd.struct_passwd | None:
    """The user that runs the services; None for the current user. PostgreSQL and PgBouncer refuse to run as root."""
    if os.getuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


def _unprivileged(command: list[str]) -> list[str]:
    user = _user()
    return (
        ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command] if user else command
    )


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder that belongs to the user of the service. Its path is short, because it contains sockets."""
    folder = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
    try:
        if user := _user():
            os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str]) -> None:
    authorities = "/etc/ssl/certs/ca-certificates.crt"  # Node does not use the machine's certificates by default
    environment = {"NODE_EXTRA_CA_CERTS": authorities} | os.environ if Path(authorities).exists() else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=300, env=environment)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True
