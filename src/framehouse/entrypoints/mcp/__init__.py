"""The MCP server for agents. Its tools are clients of the public HTTP API, over stdio and over streamable HTTP."""
