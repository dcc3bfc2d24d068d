"""The embedded server: started, shared, killed, found again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from framehouse.adapters.postgres.embedded import EmbeddedError, EmbeddedPostgres, binaries


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc/self").exists() else True


def test_the_last_user_stops_it(tmp_path: Path) -> None:
    one, other = EmbeddedPostgres(tmp_path), EmbeddedPostgres(tmp_path)
    one.start()
    pid = server_pid(tmp_path)
    other.start()
    assert server_pid(tmp_path) == pid
    one.stop()
    assert alive(pid)
    other.stop()
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()
    other.stop()


def test_a_holder_killed_in_cold_blood_is_not_counted(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from framehouse.adapters.postgres.embedded import EmbeddedPostgres as E;"
        "E(Path(sys.argv[1])).start(); print('up', flush=True); e = E(Path(sys.argv[1])); e.start(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        holder.kill()
    pid = server_pid(tmp_path)
    assert alive(pid), "the server outlives its holder"
    heir = EmbeddedPostgres(tmp_path)
    heir.start()
    assert server_pid(tmp_path) == pid
    heir.stop()
    assert not alive(pid)


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.start()
    pid = server_pid(tmp_path)
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 90
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    server.ensure_running()
    assert server_pid(tmp_path) != pid
    server.stop()


def test_somebody_elses_pid_in_the_file_does_not_stop_the_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.start()
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        owner = pid_file.parent.stat()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        server.start()
        assert stranger.poll() is None
        server.stop()
        assert stranger.poll() is None, "only our own server is stopped"
        stranger.kill()


def test_long_paths_and_closed_folders_work_and_stay_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    data_dir = closed / ("long" * 25)
    server = EmbeddedPostgres(data_dir)
    server.start()
    server.stop()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert data_dir.stat().st_mode & 0o066 == 0, "others may not look inside"


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="only root's database changes its user")
def test_root_works_where_nobody_else_may_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "root"
    closed.mkdir(mode=0o700)
    package = binaries().parents[1]
    installed = shutil.copytree(binaries().parent, closed / package.name / "pginstall", symlinks=True)
    shutil.copytree(package.with_suffix(".libs"), closed / f"{package.name}.libs")
    monkeypatch.setattr("framehouse.adapters.postgres.embedded.binaries", lambda: installed / "bin")
    server = EmbeddedPostgres(closed / "data")
    server.start()
    owner = Path(f"/proc/{server_pid(closed / 'data')}").stat().st_uid
    server.stop()
    assert owner != 0
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="--data-dir"):
        EmbeddedPostgres(tmp_path / "file" / "under").start()
