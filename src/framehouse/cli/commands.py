"""framehouse: all commands, and how their failures are reported."""

import os
import signal
import sys
from typing import NoReturn

import click

from framehouse import __version__
from framehouse.cli import EXIT_INTERRUPTED
from framehouse.cli.lazy_group import LazyCommand, LazyGroup
from framehouse.cli.output import EXIT_FAILED, Problem, wants_json

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=LazyGroup, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="framehouse")
def cli() -> None:
    """Pictures from prompts, references and elements, on your own engines.

    \b
    Try it:       framehouse generate "Create a three-frame product storyboard" --series
    Run a server: framehouse serve
    Something off? framehouse doctor
    """


_COMMANDS = {
    "account_commands:account": "Accounts: who may have how much in flight.",
    "backup_commands:backup": "Copy the embedded database, the pictures and framehouse.toml into FILE, also while a "
    "server runs.",
    "backup_commands:restore": 'Fill a data folder that has no database from FILE, which `backup` wrote; "-" is stdin.',
    "callback_commands:callback": "Callbacks: what was told to whom, once more, and a receiver to try them with.",
    "doctor_command:doctor": "Look for what is wrong, and say what to do about it.",
    "element_commands:element": "Saved elements: what a prompt cites as <<<element_1>>>.",
    "generate_command:generate": "Make pictures from PROMPT.",
    "key_commands:key": "Keys that open an account.",
    "model_commands:models": "Weights for the engine diffusers: what is here, and how more comes.",
    "serve_commands:api": "Run only the API; point FRAMEHOUSE_DATABASE_URL and FRAMEHOUSE_STORAGE_URL to what all "
    "machines share.",
    "serve_commands:serve": "Run everything on this machine: database, API, worker, sweeper.",
    "serve_commands:worker": "Run only a worker, which also sweeps; as many as you like, on any machine.",
    "task_commands:task": "Tasks of an account.",
}
"""Each command's `module:name` in this package, and the first sentence of its help."""

for place, first_sentence in _COMMANDS.items():
    cli.add_command(LazyCommand(f"framehouse.cli.{place}", first_sentence))


def _known_problems() -> dict[type[BaseException], str]:
    """Failures that a user can do something about, with what to add to their own words."""
    import asyncpg

    from framehouse.adapters.postgres.embedded import EmbeddedError
    from framehouse.adapters.postgres.migrate import NewerDatabase
    from framehouse.adapters.postgres.pool import LOST, DatabaseAway
    from framehouse.adapters.postgres.server_check import BadServer
    from framehouse.adapters.storage import StorageAway
    from framehouse.domain.errors import Refused
    from framehouse.engines.registry import BadRoute
    from framehouse.settings import BadSettings

    away = " Is FRAMEHOUSE_DATABASE_URL right, and does the database run?"
    plain = (BadRoute, BadServer, EmbeddedError, NewerDatabase, StorageAway, Refused, BadSettings)
    return dict.fromkeys(plain, "") | dict.fromkeys((DatabaseAway, asyncpg.PostgresError, *LOST), away)


def run() -> NoReturn:
    """Run the command line. 0 all well, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        try:
            code = cli.main(standalone_mode=False)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the end is left, and no Ctrl-C shall cut that short
    except click.ClickException as problem:
        if wants_json() and not isinstance(problem, Problem):
            problem = Problem(problem.format_message(), exit_code=problem.exit_code)
        problem.show()
        sys.exit(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
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
