"""For authors of engine plug-ins: the tests that every engine must pass, and an engine that misbehaves on request."""
