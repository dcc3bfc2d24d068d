"""What several tests of the command line share."""

from pathlib import Path

import pytest

from tests.support.command_line import run


@pytest.fixture(scope="module")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "data"
    run("account", "create", "default", "--data-dir", folder)
    return folder
