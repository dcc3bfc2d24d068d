"""The `framehouse mcp` command."""

import click

from framehouse.cli.output import Problem


@click.command()
@click.option("--server", metavar="URL", envvar="FRAMEHOUSE_URL", help="URL of a running server. [env: FRAMEHOUSE_URL]")
@click.option("--key", envvar="FRAMEHOUSE_KEY", help="API key. [env: FRAMEHOUSE_KEY]")
def mcp(server: str | None, key: str | None) -> None:
    """Serve agents over the Model Context Protocol (MCP) on stdin and stdout.

    The command is a client of a running Framehouse server. Programs with agents start the command themselves.
    docs/quickstart/mcp.md shows how to configure these programs.
    """
    import asyncio

    from framehouse.runtime.log_setup import set_up_logging

    missing = [name for name, value in (("FRAMEHOUSE_URL", server), ("FRAMEHOUSE_KEY", key)) if not value]
    if not server or not key:
        advice = "Pass --server and --key, or set FRAMEHOUSE_URL and FRAMEHOUSE_KEY"
        raise Problem(
            f"{' and '.join(missing)} missing. {advice}. `framehouse serve` prints both when it first starts."
        )
    try:
        from framehouse.entrypoints.mcp.mcp_stdio import run_stdio
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "framehouse_client"):
            raise
        raise Problem("MCP is not installed. Install it: pip install 'framehouse[mcp]' framehouse-client") from error
    set_up_logging("warning")
    try:
        asyncio.run(run_stdio(server, key))
    except ValueError as error:
        raise Problem(f"{error}.") from error
