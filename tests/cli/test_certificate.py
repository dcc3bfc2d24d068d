"""The command that prints the certificate, the check of `framehouse doctor`, and the start with a wrong certificate."""

from pathlib import Path
from typing import Any

import pytest

from framehouse.cli import doctor
from framehouse.settings import load_settings
from tests.support import signing_files
from tests.support.command_line import run, run_json
from tests.support.data_folder import prepare
from tests.support.outside_readers import signature_problems
from tests.support.signing_files import issue, pem

CHAIN, KEY = issue()


def finding(**settings: Any) -> doctor.DoctorFinding:
    (found,) = doctor._check_signing(load_settings(**settings))
    return found


def test_the_command_prints_the_certificate_that_signs_images(tmp_path: Path) -> None:
    data = tmp_path / "data"
    missing = run("certificate", "--data-dir", data, code=1)
    assert "has no certificate yet" in missing.stderr
    assert not data.exists()
    prepare(data)
    run("certificate", "--data-dir", data, code=1)
    run("generate", "a fox", "--out", tmp_path / "out", "--data-dir", data)
    certificate = run("certificate", "--data-dir", data).stdout
    assert certificate.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in certificate
    (image,) = (tmp_path / "out").iterdir()
    assert signature_problems(image.read_bytes(), "image/png", certificate) == []
    own = signing_files.write(tmp_path, b"".join(CHAIN), pem(KEY))
    assert run("certificate", "--data-dir", data, code=0, **own).stdout.encode() == b"".join(CHAIN)
    (shown,) = run_json("certificate", "--data-dir", data, code=0, **own)
    assert (shown["subject"], shown["issuer"]) == (
        "CN=Example Studio,O=Example Studio",
        "CN=Example Authority,O=Example Authority",
    )
    assert (
        run("certificate", "--all", "--data-dir", data, code=0, **own).stdout.encode()
        == b"".join(CHAIN) + certificate.encode()
    )


def test_a_configured_certificate_is_printed_without_a_database(tmp_path: Path) -> None:
    own = signing_files.write(tmp_path, b"".join(CHAIN), pem(KEY))
    assert run("certificate", "--all", "--data-dir", tmp_path / "data", code=0, **own).stdout.encode() == b"".join(
        CHAIN
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("valid_days", "level"), [(29.5, "advice"), (31.5, "ok")])
def test_doctor_reports_the_issuer_and_the_days_that_are_left(tmp_path: Path, valid_days: float, level: str) -> None:
    chain, key = issue(valid_days=valid_days)
    signing_files.write(tmp_path, b"".join(chain), pem(key))
    found = finding(signing_certificate=tmp_path / "chain.pem", signing_key=tmp_path / "key.pem")
    assert (found.number, found.level) == (18, level)
    assert "issued by CN=Example Authority,O=Example Authority; it expires on 20" in found.text
    assert f"(in {int(valid_days)} days)" in found.text
    assert bool(found.advice) == (level == "advice")


def test_doctor_explains_a_certificate_of_the_deployment_itself() -> None:
    assert finding().level == "ok"
    assert "cannot verify who signed it" in finding().text
    assert finding(sign_images=False).text == "Images are not signed (sign_images = false)"


def test_serve_and_doctor_refuse_a_key_of_another_certificate(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    wrong = signing_files.write(tmp_path, b"".join(CHAIN), pem(issue()[1]))
    refused = run("serve", "--port", "0", "--data-dir", tmp_path / "data", code=1, **wrong)
    assert "key.pem: the key belongs to another certificate" in refused.stderr
    findings = {f["number"]: f for f in run_json("doctor", "--data-dir", tmp_path / "data", code=1, **wrong)}
    assert findings[18]["level"] == "problem"
    assert "the key belongs to another certificate" in findings[18]["found"]
