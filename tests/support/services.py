"""What many machines share, as real programs: a PostgreSQL and a PgBouncer of the system's, and an S3 server.

Each is started in a temporary folder, on any address, and by any command before it (`ip netns exec NAME`), can be
stopped and started again with what it holds, and is gone afterwards. The S3 server is s3rver, from npm: unlike moto it
keeps its files over a restart, refuses an unknown access key, and presigned URLs after their end. It does not compute
signatures of version 4: a wrong secret, or a URL that was tampered with, it lets pass.
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
"""The one pair of access key and secret that s3rver knows."""
USER, PASSWORD = "framehouse", "a secret: of/20 %signs"
_READY_S = 90


@dataclass
class Service:
    """A program that runs; `stop` and `start` it again, or `kill` it, which is what a power cut does."""

    command: list[str]
    ready: Callable[[], bool]
    log: Path
    address: tuple[str, int]
    environment: dict[str, str] = field(default_factory=dict)
    stopping: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    said_before: int = 0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.said_before = log.tell()
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
            self.process.send_signal(self.stopping)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the program and the processes it started: those of PostgreSQL keep its shared memory while they live."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # it starts no others
            process_tree.kill([*process_tree.descendants(self.process.pid), self.process.pid])
            self.process.wait()


@dataclass
class Postgres(Service):
    def start(self) -> None:
        for left in reversed(range(20)):
            try:
                super().start()
                return
            except RuntimeError:  # the last processes of a killed server take a moment to leave
                if not left:
                    raise
            time.sleep(0.2)

    def url(self, database: str = "framehouse", *, user: str = USER, password: str = PASSWORD) -> str:
        host, port = self.address
        return f"postgresql://{user}:{quote(password, safe='')}@{host}:{port}/{database}"


@dataclass
class PgBouncer(Postgres):
    pass


@dataclass
class S3(Service):
    bucket: str = "pictures"

    @property
    def variables(self) -> dict[str, str]:
        """What the processes that use it need in their environment."""
        return {
            "AWS_ACCESS_KEY_ID": S3_KEY,
            "AWS_SECRET_ACCESS_KEY": S3_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self.address[0]}:{self.address[1]}",
            "AWS_ALLOW_HTTP": "true",
        }

    def url(self, prefix: str = "") -> str:
        return f"s3://{self.bucket}/{prefix}".rstrip("/")


@contextmanager
def postgres(
    host: str = "127.0.0.1",
    *,
    port: int = 0,
    prefix: Sequence[str] = (),
    settings: dict[str, str] | None = None,
    tls: tuple[str, str] | None = None,
) -> Iterator[Postgres]:
    """A PostgreSQL server of the system's packages, which asks for a password, with the database `framehouse`.
    `settings` are PostgreSQL's own (`max_connections`, …); `tls` are a certificate and its key."""
    programs = _postgres_programs()
    port = port or free_port()
    with _folder() as folder:
        data, ready = folder / "data", [str(programs / "pg_isready"), "-q", "-h", str(folder), "-p", str(port)]
        password = folder / "password"
        password.write_text(PASSWORD)
        make = [programs / "initdb", "-D", data, "-U", USER, "--pwfile", password, "--encoding=UTF8", "--locale=C"]
        _run(_as_nobody([*map(str, make), "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]))
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
        } | (settings or {})
        words = [f"--{name}={value}" for name, value in options.items()]
        command = [*prefix, *_as_nobody([str(programs / "postgres"), "-D", str(data), *words])]
        server = Postgres(
            command,
            lambda: subprocess.run(ready, check=False).returncode == 0,
            folder / "log",
            (host, port),
            stopping=signal.SIGINT,
        )
        server.start()
        try:
            _run([str(programs / "createdb"), "-h", str(folder), "-p", str(port), "-U", USER, "framehouse"])
            yield server
        finally:
            server.stop()


@contextmanager
def pgbouncer(
    server: Postgres, host: str = "127.0.0.1", *, port: int = 0, prefix: Sequence[str] = (), connections: int = 20
) -> Iterator[PgBouncer]:
    """A PgBouncer in transaction mode in front of a server, with so many connections to it for each database."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        skip_missing("PgBouncer", "pgbouncer")
    port = port or free_port()
    with _folder() as folder:
        (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.address[0]} port={server.address[1]}\n"
            f"[pgbouncer]\nlisten_addr = {host}\nlisten_port = {port}\nunix_socket_dir = {folder}\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = transaction\nmax_client_conn = 500\n"
            f"default_pool_size = {connections}\nserver_login_retry = 1\nadmin_users = {USER}\n"
        )
        pooler = PgBouncer(
            [*prefix, *_as_nobody([program, str(folder / "pgbouncer.ini")])],
            lambda: _accepts(folder / f".s.PGSQL.{port}"),
            folder / "log",
            (host, port),
            stopping=signal.SIGINT,
        )
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.kill()  # or it waits for its clients


@contextmanager
def s3(host: str = "127.0.0.1", *, port: int = 0, prefix: Sequence[str] = (), bucket: str = "pictures") -> Iterator[S3]:
    """An S3 server over HTTP with one empty bucket."""
    program = _s3rver()
    port = port or free_port()
    with _folder() as folder:
        files = folder / "files"
        words = ["-d", str(files), "-a", host, "-p", str(port), "--configure-bucket", bucket]
        environment = {"NODE_NO_WARNINGS": "1"}
        server = S3(
            [*prefix, *program, *words], lambda: False, folder / "log", (host, port), environment, bucket=bucket
        )
        server.ready = lambda: _says(server, "listening on")
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _says(server: Service, words: str) -> bool:
    """Whether it has said so since it was started last: where it lives, we may not reach it by its address."""
    return words.encode() in server.log.read_bytes()[server.said_before :]


def _s3rver() -> list[str]:
    """How to run it; fetched at the first use, and by one of all tests' processes."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        skip_missing("Node.js with npm", "nodejs npm")
    folder = ROOT / ".cache" / "s3rver"
    program = folder / "node_modules" / "s3rver" / "bin" / "s3rver.js"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "turn").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            _run([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), S3RVER])
            (folder / "installed").touch()
    return [node, str(program)]


def _postgres_programs() -> Path:
    """The newest of the system's own: not the wheel's, which everything else is tested with."""
    found = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        skip_missing("PostgreSQL", "postgresql")
    return max(found, key=lambda p: int(p.parent.name))


def _user() -> pwd.struct_passwd | None:
    """Whom to become: neither PostgreSQL nor PgBouncer runs as root."""
    if os.getuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


def _as_nobody(command: list[str]) -> list[str]:
    user = _user()
    return (
        ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command] if user else command
    )


@contextmanager
def _folder() -> Iterator[Path]:
    """Short, for sockets are in it, and its owner is who runs the program."""
    folder = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
    try:
        if user := _user():
            os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str]) -> None:
    authorities = "/etc/ssl/certs/ca-certificates.crt"  # the machine's, which Node does not look at by itself
    environment = {"NODE_EXTRA_CA_CERTS": authorities} | os.environ if Path(authorities).exists() else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=300, env=environment)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(path))
        except OSError:
            return False
        return True
