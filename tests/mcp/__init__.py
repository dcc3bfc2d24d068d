"""The MCP server, with the clients of the MCP package over real sockets and processes."""
