"""For authors of engine plug-ins: the tests that every engine must pass, and an engine that misbehaves on request."""

import sys

if pytest := sys.modules.get("pytest"):  # so that a failed assertion of the suite shows its values
    pytest.register_assert_rewrite("framehouse.testing.engine_contract")
