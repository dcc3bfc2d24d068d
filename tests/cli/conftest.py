"""Fixtures for the tests of the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from tests.support.command_line import run
from tests.support.data_folder import prepare


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with the account `default`. Its database is already running, so no command has to start it.

    Tests that use this fixture have the mark `xdist_group("shared_data")`, so that one test process runs all of them.
    """
    folder = tmp_path_factory.mktemp("shared") / "data"
    prepare(folder)
    server = EmbeddedPostgres(folder)
    server.start()
    run("account", "create", "default", "--data-dir", folder)
    yield folder
    server.stop()
