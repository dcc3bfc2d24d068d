"""The driver for an MCP client over streamable HTTP: `PROGRAM SCENARIO FOLDER`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))

    from tests.support.mcp_clients import http_client
    from tests.support.mcp_driver import main

    main(http_client, local_files=False)
