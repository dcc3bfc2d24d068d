"""Tools for authors of engine plug-ins.

The package contains the tests that every engine must pass, an example engine to copy, and a test engine that misbehaves
on request.
"""

import sys

if pytest := sys.modules.get("pytest"):  # makes pytest show the values in failed assertions
    pytest.register_assert_rewrite("framehouse.testing.engine_contract")
