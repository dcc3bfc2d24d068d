"""The `framehouse` command group, its commands, and the handling of their errors."""

import os
import signal
import sys
from typing import NoReturn

import click

from framehouse import __version__
from framehouse.cli import EXIT_INTERRUPTED
from framehouse.cli.lazy_group import LazyCommand, LazyGroup
from framehouse.cli.output import EXIT_FAILED, Problem, echo, json_requested

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=LazyGroup, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="framehouse")
def cli() -> None:
    """Generate images from prompts, references and elements with your own engines.

    \b
    Generate:      framehouse generate "Create a three-frame product storyboard" --series
    Run a server:  framehouse serve
    Find problems: framehouse doctor
    """


_COMMANDS = {
    "account_commands:account": "Manage accounts and their limits.",
    "admin_key_commands:admin_key": "Manage the keys of the admin API.",
    "audit_command:audit": "Show who changed accounts, keys, routes and tasks, newest change first.",
    "backup_commands:backup": "Copy the embedded database, the images, the references and framehouse.toml to FILE.",
    "backup_commands:restore": "Restore the backup FILE into a data folder that has no database.",
    "callback_commands:callback": "List and resend callbacks, or receive them for development.",
    "certificate_command:certificate": "Print the certificate that signs images, and its issuers, as PEM.",
    "comfyui_command:comfyui": "Check workflows for the engine comfyui.",
    "doctor_command:doctor": "Find problems and print advice on how to solve them.",
    "engine_commands:engine": "Test the engines of the configured routes.",
    "element_commands:element": "Manage saved elements, which a prompt cites as <<<element_1>>>.",
    "generate_command:generate": "Generate images from PROMPT.",
    "key_commands:key": "Manage the API keys of accounts.",
    "mcp_command:mcp": "Serve agents over the Model Context Protocol (MCP) on stdin and stdout.",
    "model_commands:models": "Manage model weights for the diffusers engine.",
    "route_commands:route": "List, pause, drain and resume routes.",
    "serve_commands:api": "Run only the API.",
    "serve_commands:serve": "Run the database, API, worker and sweeper on this machine.",
    "serve_commands:worker": "Run only a worker, which includes the sweeper.",
    "setup_command:setup": "Find engines that work on this machine, test each of them, and write framehouse.toml.",
    "task_commands:task": "List, show, cancel and retry tasks.",
    "verify_command:verify": "Say whether an image was made here, by which model, and whether it was changed.",
    "usage_command:usage": "Show the charges of accounts, newest first, and their sum in units.",
}
"""The first sentence of each command's help text, keyed by the command's `module:name` in this package."""

for reference, first_sentence in _COMMANDS.items():
    cli.add_command(LazyCommand(f"framehouse.cli.{reference}", first_sentence))


def _known_problems() -> dict[type[BaseException], str]:
    """Return the exceptions with causes that a user can fix, each with the advice to append to its message."""
    import asyncpg

    from framehouse.adapters.postgres.embedded import EmbeddedError
    from framehouse.adapters.postgres.migrate import NewerDatabase
    from framehouse.adapters.postgres.pool import CONNECTION_ERRORS, DatabaseUnavailable
    from framehouse.adapters.postgres.server_check import BadServer
    from framehouse.adapters.storage import StorageUnavailable
    from framehouse.domain.errors import Refused
    from framehouse.engines.registry import BadRoute
    from framehouse.settings import BadSettings

    check_url = " Check that FRAMEHOUSE_DATABASE_URL is correct and that the database is running."
    clear = (BadRoute, BadServer, EmbeddedError, NewerDatabase, StorageUnavailable, Refused, BadSettings)
    database = (DatabaseUnavailable, asyncpg.PostgresError, *CONNECTION_ERRORS)
    return dict.fromkeys(clear, "") | dict.fromkeys(database, check_url)


def run() -> NoReturn:
    """Run the command line. Exit codes: 0 for success, 1 for failure, 2 for a usage error, 130 for an interrupt."""
    try:
        try:
            code = cli.main(standalone_mode=False)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C must not interrupt the error message or the exit
    except click.ClickException as problem:
        if json_requested() and not isinstance(problem, Problem):
            problem = Problem(problem.format_message(), exit_code=problem.exit_code)
        problem.show()
        sys.exit(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # again, because Ctrl-C may have interrupted the call in `finally`
        echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except Exception as error:
        for kind, advice in _known_problems().items():
            if isinstance(error, kind):
                Problem(f"{str(error) or type(error).__name__}{advice}").show()
                sys.exit(EXIT_FAILED)
        raise
    sys.exit(code if isinstance(code, int) else 0)
