"""The embedded PostgreSQL server: several processes share it, the last one stops it, and it recovers from kills."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from framehouse.adapters.postgres import embedded
from framehouse.adapters.postgres.embedded import EmbeddedError, EmbeddedPostgres, binaries
from tests.support import process_tree


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "zombie" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc/self").exists() else True
    except (ProcessLookupError, FileNotFoundError):  # the process may be reaped between the two calls
        return False


def test_the_last_user_stops_the_server(tmp_path: Path) -> None:
    first, last = EmbeddedPostgres(tmp_path), EmbeddedPostgres(tmp_path)
    first.start()
    pid = server_pid(tmp_path)
    last.start()
    assert server_pid(tmp_path) == pid
    first.stop()
    assert alive(pid)
    last.stop()
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()
    last.stop()


def test_a_killed_process_is_not_counted_as_a_user(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from framehouse.adapters.postgres.embedded import EmbeddedPostgres as E;"
        "E(Path(sys.argv[1])).start(); print('up', flush=True); e = E(Path(sys.argv[1])); e.start(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        killed.kill()
    pid = server_pid(tmp_path)
    assert alive(pid), "the server died with the killed process"
    server = EmbeddedPostgres(tmp_path)
    server.start()
    assert server_pid(tmp_path) == pid
    server.stop()
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()


def test_a_killed_server_is_restarted(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.start()
    pid = server_pid(tmp_path)
    processes = [pid, *process_tree.children(pid)]
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 90
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.01)
    server.ensure_running()
    assert server_pid(tmp_path) != pid
    server.stop()


def test_the_server_starts_if_its_pid_file_names_an_unrelated_process(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.start()
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as unrelated:
        owner = pid_file.parent.stat()
        pid_file.write_text("\n".join([str(unrelated.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        server.start()
        assert unrelated.poll() is None
        server.stop()
        assert unrelated.poll() is None, "an unrelated process was stopped"
        unrelated.kill()


def test_the_server_starts_at_a_long_path_in_a_private_folder_and_the_folder_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    data_dir = private / ("long" * 25)
    server = EmbeddedPostgres(data_dir)
    server.start()
    server.stop()
    assert private.stat().st_mode & 0o777 == 0o700
    assert data_dir.stat().st_mode & 0o066 == 0, "other users can read the data folder"


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="only root's database changes its user")
def test_the_server_of_root_starts_in_a_folder_that_only_root_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "root"
    private.mkdir(mode=0o700)
    package = binaries().parents[1]
    installed = shutil.copytree(binaries().parent, private / package.name / "pginstall", symlinks=True)
    shutil.copytree(package.with_suffix(".libs"), private / f"{package.name}.libs")
    monkeypatch.setattr("framehouse.adapters.postgres.embedded.binaries", lambda: installed / "bin")
    server = EmbeddedPostgres(private / "data")
    server.start()
    owner = Path(f"/proc/{server_pid(private / 'data')}").stat().st_uid
    server.stop()
    assert owner != 0
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_planted_link_in_place_of_the_socket_folder_is_refused(tmp_path: Path) -> None:
    """Another user can create a link in /tmp. As root, the server would change the owner of its target."""
    server = EmbeddedPostgres(tmp_path / ("x" * 60) / ("y" * 60))
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    before = target.stat().st_uid
    link = server._socket_dir
    assert link.parent == Path("/tmp")
    link.symlink_to(target)
    try:
        with pytest.raises(EmbeddedError, match="Another user owns"):
            server.start()
        assert (target.stat().st_uid, list(target.iterdir())) == (before, [])
    finally:
        link.unlink()


def test_other_users_cannot_hold_the_locks(tmp_path: Path) -> None:
    (tmp_path / "postgres.turn").touch(mode=0o644)
    server = EmbeddedPostgres(tmp_path)
    server.start()
    server.stop()
    for name in ("postgres.turn", "postgres.users"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_long_wait_for_the_lock_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_SILENT_LOCK_ATTEMPTS", 2)
    server = EmbeddedPostgres(tmp_path)
    with (tmp_path / "postgres.turn").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def unlock_after_the_warning() -> None:
            end = time.monotonic() + 60
            while "waiting for lock" not in caplog.text and time.monotonic() < end:
                time.sleep(0.01)
            fcntl.flock(lock, fcntl.LOCK_UN)

        unlocking = threading.Thread(target=unlock_after_the_warning)
        unlocking.start()
        server.start()
        unlocking.join()
    server.stop()
    assert "waiting for lock" in caplog.text


def test_the_error_of_an_unusable_folder_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="--data-dir"):
        EmbeddedPostgres(tmp_path / "file" / "under").start()
