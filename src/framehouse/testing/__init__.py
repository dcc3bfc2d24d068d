"""Tools for authors of engine plug-ins: the tests that every engine must pass, an example engine to copy, and an engine
that misbehaves on request."""

import sys

if pytest := sys.modules.get("pytest"):  # a failed assertion in the suite then shows its values
    pytest.register_assert_rewrite("framehouse.testing.engine_contract")
