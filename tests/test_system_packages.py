"""The line at the end of a test run that names the missing system packages."""

import pytest

from tests.support.system_packages import skip_missing, summary


@pytest.mark.parametrize(
    ("reasons", "line"),
    [
        ([], ""),
        (["Skipped: only root may mount"], ""),
        (
            ["Skipped: there is no Chromium on this machine (Debian: apt-get install chromium)"],
            "1 test was skipped because packages are missing. To run all: apt-get install chromium",
        ),
        (
            [
                "Skipped: there is no x on this machine (Debian: apt-get install nodejs npm)",
                "Skipped: there is no y on this machine (Debian: apt-get install iproute2)",
                "Skipped: the extra diffusers is not installed: make diffusers",
                "Skipped: there is no kubectl on this machine",
            ],
            "3 tests were skipped because packages are missing. "
            "To run all: apt-get install iproute2 nodejs npm && make diffusers",
        ),
    ],
)
def test_the_summary_names_each_package_once(reasons: list[str], line: str) -> None:
    assert summary(reasons) == line


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_test_without_its_package_is_skipped_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install chromium"):
        skip_missing("Chromium", "chromium")
