"""The error of an MCP tool."""


class ToolFailed(Exception):
    """A tool call failed. The agent receives the message, which says what is wrong and what to do next."""
