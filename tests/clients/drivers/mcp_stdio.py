"""The driver for an MCP client over stdio: `PROGRAM SCENARIO FOLDER`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))

    from tests.support.mcp_clients import stdio_client_of
    from tests.support.mcp_driver import main

    main(stdio_client_of, local_files=True)
