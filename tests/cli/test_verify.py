"""`framehouse verify`."""

from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.command_line import run, run_json
from tests.support.image_files import image_file
from tests.support.signed_images import Identity, identity, signed, unsigned, with_text


def certificate_files(folder: Path, signer: Identity) -> dict[str, Any]:
    """Environment variables that configure a signing certificate."""
    (folder / "certificate.pem").write_bytes(signer.certificate + signer.authority)
    (folder / "key.pem").write_bytes(signer.key)
    return {
        "FRAMEHOUSE_SIGNING_CERTIFICATE": str(folder / "certificate.pem"),
        "FRAMEHOUSE_SIGNING_KEY": str(folder / "key.pem"),
    }


def test_without_a_database_the_file_is_examined_and_no_database_is_created(tmp_path: Path) -> None:
    data, image = tmp_path / "data", tmp_path / "fox.png"
    configured = certificate_files(tmp_path, identity())
    image.write_bytes(signed(unsigned()))
    text = run("verify", image, "--data-dir", data, **configured).stdout
    assert text.splitlines()[0] == "This image was made here. The file was not changed after it was signed."
    assert "kling-v3-omni" in text
    assert run_json("verify", image, "--data-dir", data, **configured)["verdict"] == "made_here"
    image.write_bytes(with_text(image.read_bytes()))
    assert "was changed later" in run("verify", image, "--data-dir", data, code=1, **configured).stdout
    assert run_json("verify", image, "--data-dir", data, code=1)["verdict"] == "unknown"
    assert not data.exists()


def test_an_image_that_was_generated_here(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    run("generate", "a red fox", "--out", out, "--data-dir", data)
    (image,) = out.glob("*.png")
    found = run_json("verify", image, "--data-dir", data)
    assert (found["verdict"], found["evidence"], found["account"]) == ("made_here", "signature", "default")
    copy = tmp_path / "copy.jpg"
    with Image.open(image) as original:
        original.convert("RGB").resize((500, 500)).save(copy, quality=70)
    text = run("verify", copy, "--data-dir", data, code=1).stdout
    assert text.startswith("This image looks like an image that was made here.")
    assert found["task_id"] in text


def test_files_that_cannot_be_verified(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    assert "is a text" in run("verify", file, code=1).stderr
    assert "No such file" in run("verify", tmp_path / "missing.png", code=1).stderr
    assert "private or special address" in run("verify", "http://127.0.0.1:9/a.png", code=1).stderr
    with file.open("wb") as large:
        large.truncate(64_000_001)
    assert "has more than 64,000,000 bytes" in run("verify", file, code=1).stderr
    image = tmp_path / "plain.png"
    image.write_bytes(image_file())
    assert run("verify", image, "--data-dir", tmp_path, code=1).stdout == (
        "Nothing shows that this image was made here.\n"
    )
