import asyncio
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from framehouse.adapters.storage import Storage, StorageMisconfigured, StorageUnavailable, open_storage
from tests.support import services
from tests.support.eventually import eventually


@pytest.fixture(scope="module")
def s3() -> Iterator[services.S3]:
    with services.s3() as server:
        yield server


@pytest.fixture
def bucket(s3: services.S3, monkeypatch: pytest.MonkeyPatch) -> services.S3:
    """An S3 server that is reached by what the environment says."""
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.mark.parametrize("kind", ["folder", "memory", "s3"])
async def test_a_storage_keeps_what_it_is_given(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "s3":
        url = request.getfixturevalue("bucket").url("pre/fix")
    else:
        url = "memory:///" if kind == "memory" else (tmp_path / "a folder").as_uri()
    storage: Storage = open_storage(url)
    await storage.check()
    assert await storage.get("images/t/0.png") is None
    assert await storage.size("images/t/0.png") is None
    await storage.put("images/t/0.png", b"first")
    await storage.put("images/t/0.png", b"0123456789")
    await storage.put("images/t/1.png", b"")
    await storage.put("images/tt/1.png", b"other")
    assert await storage.get("images/t/0.png") == b"0123456789"
    assert await storage.get_range("images/t/0.png", 2, 5) == b"234"
    assert await storage.size("images/t/0.png") == 10
    for size in (0, 3, 12_000_000):
        file = io.BytesIO(os.urandom(size))
        await storage.put_file("references/a", file)
        assert file.closed
        assert await storage.size("references/a") == size
    big = os.urandom(12_000_000)
    await storage.put_file("references/a", io.BytesIO(big))
    assert await storage.get("references/a") == big
    with pytest.raises(FileNotFoundError):
        await storage.get_range("images/none", 0, 1)
    await storage.delete_folder("images/t/")
    await storage.delete(["images/t/0.png", "never/was"])
    assert await storage.get("images/t/0.png") is None
    assert await storage.get("images/tt/1.png") == b"other"


async def test_a_storage_that_is_in_the_way_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match="file"):
        open_storage((tmp_path / "file" / "under").as_uri())
    with pytest.raises(StorageUnavailable):
        open_storage("nonsense://x")
    storage = open_storage((tmp_path / "s").as_uri())
    (tmp_path / "s" / "images").write_text("not a folder")
    with pytest.raises(StorageUnavailable):
        await storage.put("images/t/0.png", b"x")
    with pytest.raises(StorageUnavailable):
        await storage.put_file("images/t/0.png", io.BytesIO(b"x"))


async def test_a_file_that_breaks_while_it_is_stored_leaves_nothing(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            return 12_000_000 if whence == 2 else offset

        def tell(self) -> int:
            return 0

        def readinto(self, buffer: object) -> int:
            raise OSError("the disk is gone")

    storage = open_storage((tmp_path / "s").as_uri())
    with pytest.raises(StorageUnavailable, match="the disk is gone"):
        await storage.put_file("references/a", io.BufferedReader(Broken()))
    assert await storage.size("references/a") is None
    assert [path.name for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


async def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    storage = open_storage((tmp_path / "files").as_uri())
    await storage.put("references/a", b"whole")
    left = [tmp_path / "files" / name for name in ("references/a#1", "references/b#12", "images/t/0.png#1")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert await storage.delete_partial_files(older_than_s=3600) == 0
    for path in left[:2]:
        os.utime(path, (0, 0))
    assert await storage.delete_partial_files(older_than_s=3600) == 2
    assert [path.exists() for path in left] == [False, False, True]
    assert await storage.get("references/a") == b"whole"
    assert await open_storage("memory:///").delete_partial_files(older_than_s=0) == 0


async def test_that_is_what_a_killed_writer_leaves(tmp_path: Path) -> None:
    """How the library names what it writes, on which the removal leans."""

    seen: list[str] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            seen.extend(path.name for path in (tmp_path / "files").rglob("*") if path.is_file())
            return super().read(size)

    await open_storage((tmp_path / "files").as_uri()).put_file("references/a", Watched(os.urandom(20_000_000)))
    assert set(seen) == {"a#1"}


async def test_a_presigned_url_gives_the_picture_for_a_while(bucket: services.S3, tmp_path: Path) -> None:
    storage = open_storage(bucket.url("pre/fix"))
    await storage.put("images/t/0.jpg", b"a picture")
    url = await storage.presign("images/t/0.jpg", "GET", valid_s=5)
    assert url and url.startswith(f"{bucket.variables['AWS_ENDPOINT_URL']}/pictures/pre/fix/images/t/0.jpg?")
    async with httpx.AsyncClient() as http:
        answer = await http.get(url)
        assert (answer.content, answer.headers["content-type"]) == (b"a picture", "image/jpeg")

        async def expired() -> bool:
            assert url
            return (await http.get(url)).status_code == 403

        await eventually(expired)
    for url in ("memory:///", (tmp_path / "files").as_uri()):
        assert await open_storage(url).presign("images/t/0.jpg", "GET", valid_s=1) is None


async def test_a_bucket_that_is_away_or_wrong_says_how(bucket: services.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(bucket.url())
    bucket.stop()
    try:
        for asked in (storage.check(), storage.put("images/a.png", b"x"), storage.size("images/a.png")):
            with pytest.raises(StorageUnavailable) as away:
                await asked
            assert not isinstance(away.value, StorageMisconfigured)
            assert "Debug source" not in str(away.value)
    finally:
        bucket.start()
    await storage.check()
    missing = open_storage("s3://missing/prefix")
    for asked in (missing.check(), missing.put("images/a.png", b"x"), missing.put_file("a", io.BytesIO(b"x" * 9))):
        with pytest.raises(StorageMisconfigured, match="no such bucket"):
            await asked
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(StorageMisconfigured, match="AWS_ALLOW_HTTP=true"):
        await open_storage(bucket.url()).check()
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StorageMisconfigured, match=r"access denied.*InvalidAccessKeyId"):
        await open_storage(bucket.url()).check()


async def test_the_other_clouds_are_opened_and_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline: there is no server of theirs to ask."""
    key = await asyncio.to_thread(subprocess.check_output, ["openssl", "genpkey", "-algorithm", "rsa"], text=True)
    account = {"type": "service_account", "private_key": key, "private_key_id": "1", "client_email": "me@example.org"}
    (tmp_path / "account.json").write_text(json.dumps(account | {"client_id": "1"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    url = await open_storage("gs://bucket/prefix").presign("images/a.png", "GET", valid_s=60)
    assert url and url.startswith("https://storage.googleapis.com/bucket/prefix/images/a.png?") and "Signature=" in url
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5a2V5a2V5")
    url = await open_storage("az://container/prefix").presign("images/a.png", "HEAD", valid_s=60)
    assert (
        url and url.startswith("https://account.blob.core.windows.net/container/prefix/images/a.png?") and "sig=" in url
    )
