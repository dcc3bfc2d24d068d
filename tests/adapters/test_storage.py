"""Storage in folders, in memory, in S3 and in other clouds, and its errors."""

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
    """Return an S3 server, and set the environment variables by which clients find it."""
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.mark.parametrize("kind", ["folder", "memory", "s3"])
async def test_a_storage_returns_the_files_that_were_stored(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
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


async def test_a_storage_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
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


async def test_a_file_that_cannot_be_read_while_it_is_stored_leaves_no_partial_file(tmp_path: Path) -> None:
    class FailingFile(io.RawIOBase):
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
        await storage.put_file("references/a", io.BufferedReader(FailingFile()))
    assert await storage.size("references/a") is None
    assert [path.name for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


async def test_old_partial_files_of_killed_writers_are_deleted(tmp_path: Path) -> None:
    storage = open_storage((tmp_path / "files").as_uri())
    await storage.put("references/a", b"whole")
    partial = [tmp_path / "files" / name for name in ("references/a#1", "references/b#12", "images/t/0.png#1")]
    for path in partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert await storage.delete_partial_files(older_than_s=3600) == 0
    for path in partial[:2]:
        os.utime(path, (0, 0))
    assert await storage.delete_partial_files(older_than_s=3600) == 2
    assert [path.exists() for path in partial] == [False, False, True]
    assert await storage.get("references/a") == b"whole"
    assert await open_storage("memory:///").delete_partial_files(older_than_s=0) == 0


async def test_the_library_names_partial_files_with_a_number(tmp_path: Path) -> None:
    """`delete_partial_files` relies on these names."""

    names: list[str] = []

    class ObservingFile(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            names.extend(path.name for path in (tmp_path / "files").rglob("*") if path.is_file())
            return super().read(size)

    await open_storage((tmp_path / "files").as_uri()).put_file("references/a", ObservingFile(os.urandom(20_000_000)))
    assert set(names) == {"a#1"}


async def test_a_presigned_url_returns_the_image_until_it_expires(bucket: services.S3, tmp_path: Path) -> None:
    storage = open_storage(bucket.url("pre/fix"))
    await storage.put("images/t/0.jpg", b"an image")
    url = await storage.presign("images/t/0.jpg", "GET", valid_s=3600)
    assert url and url.startswith(f"{bucket.variables['AWS_ENDPOINT_URL']}/test-bucket/pre/fix/images/t/0.jpg?")
    short = await storage.presign("images/t/0.jpg", "GET", valid_s=1)
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.get(url)
        assert (answer.content, answer.headers["content-type"]) == (b"an image", "image/jpeg")

        async def expired() -> bool:
            assert short
            answer = await http.get(short)
            return answer.status_code == 403 and "expired" in answer.text

        await eventually(expired)
    for url in ("memory:///", (tmp_path / "files").as_uri()):
        assert await open_storage(url).presign("images/t/0.jpg", "GET", valid_s=1) is None


async def test_the_error_of_a_bucket_says_whether_it_is_unreachable_or_misconfigured(
    bucket: services.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(bucket.url())
    bucket.stop()
    try:
        for call in (storage.check(), storage.put("images/a.png", b"x"), storage.size("images/a.png")):
            with pytest.raises(StorageUnavailable) as error:
                await call
            assert not isinstance(error.value, StorageMisconfigured)
            assert "Debug source" not in str(error.value)
    finally:
        bucket.start()
    await storage.check()
    missing = open_storage("s3://missing/prefix")
    for call in (missing.check(), missing.put("images/a.png", b"x"), missing.put_file("a", io.BytesIO(b"x" * 9))):
        with pytest.raises(StorageMisconfigured, match="no such bucket"):
            await call
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(StorageMisconfigured, match="AWS_ALLOW_HTTP=true"):
        await open_storage(bucket.url()).check()
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StorageMisconfigured, match=r"access denied.*InvalidAccessKeyId"):
        await open_storage(bucket.url()).check()


async def test_storages_of_google_and_azure_sign_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs offline, so it sends no request to these clouds."""
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
