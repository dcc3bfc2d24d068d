"""framehouse: all commands, their options, and how their failures are told."""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from framehouse import __version__
from framehouse.cli import EXIT_INTERRUPTED

EXIT_FAILED = 1
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Problem(click.ClickException):
    """Something to tell the user in one sentence, with what to do; exit code 1. Under --json it is JSON on stdout."""

    def __init__(self, message: str, *, code: int | None = None, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code
        vars(self)["exit_code"] = exit_code  # the library declares it for the class

    def show(self, file: Any = None) -> None:
        if _wants_json():
            click.echo(json.dumps({"error": {"message": self.message, "code": self.code}}, ensure_ascii=False))
        else:
            click.echo(f"Error: {self.message}", err=True)


def _wants_json() -> bool:
    context = click.get_current_context(silent=True)
    return "--json" in sys.argv[1:] or bool(context and context.params.get("as_json"))


def call(name: str, /, **values: Any) -> Any:
    """Call `module.function` of this package, loaded now."""
    module, _, function = name.partition(".")
    return getattr(importlib.import_module(f"framehouse.cli.{module}"), function)(**values)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--data-dir and --config, which every command that works on this machine takes."""
    command = click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False), envvar="FRAMEHOUSE_CONFIG",
        help="Settings file. [default: framehouse.toml in the data folder]",
    )(command)  # fmt: skip
    return click.option(
        "--data-dir", type=click.Path(path_type=Path, file_okay=False),
        help="Folder that holds everything local. [env: FRAMEHOUSE_DATA_DIR]",
    )(command)  # fmt: skip


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else.")


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="framehouse")
def cli() -> None:
    """Pictures from prompts, references and elements, on your own engines.

    \b
    Try it:       framehouse generate "Create a three-frame product storyboard" --series
    Run a server: framehouse serve
    Something off? framehouse doctor
    """


@cli.command()
@click.argument("prompt")
@click.option(
    "--image", "images", multiple=True, metavar="PATH|URL", help="A reference; cite it as <<<image_1>>>. Repeatable."
)
@click.option(
    "--element",
    "elements",
    multiple=True,
    metavar="ID",
    help="A saved element; cite it as <<<element_1>>>. Repeatable.",
)
@click.option(
    "--series",
    is_flag=False,
    flag_value="auto",
    default=None,
    metavar="[N]",
    help="Pictures that belong together: 2 to 9, or as many as the prompt asks for.",
)
@click.option("-n", "n", type=click.IntRange(1, 9), help="How many single pictures. [default: 1]")
@click.option(
    "--aspect", default="auto", metavar="RATIO", help="16:9 9:16 1:1 4:3 3:4 3:2 2:3 21:9 or auto. [default: auto]"
)
@click.option(
    "--resolution", type=click.Choice(["1k", "2k", "4k"], case_sensitive=False), default="1k", show_default=True
)
@click.option("--watermark", is_flag=True, help="Also make a watermarked copy of each picture.")
@click.option("--seed", type=click.IntRange(0, 2**53 - 1), help="The same seed gives the same pictures.")
@click.option("--model", default="kling-v3-omni", show_default=True, help="Which configured model.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for the pictures.",
)
@click.option(
    "--server", envvar="FRAMEHOUSE_SERVER", metavar="URL", help="Let this server make them, instead of this machine."
)
@click.option("--key", envvar="FRAMEHOUSE_KEY", metavar="KEY", help="API key for --server.")
@_data_options
@_json_option
def generate(**options: Any) -> None:
    """Make pictures from PROMPT.

    Works on this machine with nothing to start first, or with --server and --key as a client of any server
    that speaks the API.

    \b
    framehouse generate "A red fox in the snow" -n 2 --aspect 3:2
    framehouse generate "Frame 1: a seed. Frame 2: a sprout. Frame 3: a tree" --series
    framehouse generate "The bag of <<<image_1>>> on a beach" --image bag.png --resolution 2k
    framehouse generate "四格漫画：一只猫学做饭" --series --server http://127.0.0.1:8000 --key fh_…
    """
    call("generate.run", **options)


@cli.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one. [default: 8000]")
@_data_options
@_json_option
def serve(**options: Any) -> None:
    """Run everything on this machine: database, API, worker, sweeper.

    The first start makes the account "default" with an API key, and shows the key once.
    """
    call("serve.serve", **options)


@cli.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on. [default: 8000]")
@click.option("--listen-fd", type=int, hidden=True)
@click.option("--worker-metrics", hidden=True)
@click.option("--parent-pipe", type=int, hidden=True)
@click.option("--heartbeat-fd", type=int, hidden=True)
@_data_options
@_json_option
def api(**options: Any) -> None:
    """Run only the API; point FRAMEHOUSE_DATABASE_URL and FRAMEHOUSE_STORAGE_URL to what all machines share."""
    call("serve.api", **options)


@cli.command()
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    help="What this worker has, for routes that need it, such as gpu=h100. Repeatable. [default: worker_labels]",
)
@click.option("--metrics-fd", type=int, hidden=True)
@click.option("--parent-pipe", type=int, hidden=True)
@click.option("--heartbeat-fd", type=int, hidden=True)
@_data_options
@_json_option
def worker(**options: Any) -> None:
    """Run only a worker, which also sweeps; as many as you like, on any machine."""
    call("serve.worker", **options)


@cli.group()
def account() -> None:
    """Accounts: who may have how much in flight."""


_name = click.argument("name")


@account.command("create")
@_name
@click.option("--concurrency", type=click.IntRange(0, 1_000_000), help="Images in flight at once. [default: 100]")
@click.option("--units", type=click.IntRange(0, 10**15), help="Units it may use. [default: no limit]")
@_data_options
@_json_option
def account_create(**options: Any) -> None:
    """Make an account. It needs a key next: framehouse key create NAME"""
    call("account_commands.create", **options)


@account.command("list")
@_data_options
@_json_option
def account_list(**options: Any) -> None:
    """All accounts."""
    call("account_commands.list_all", **options)


@account.command("show")
@_name
@_data_options
@_json_option
def account_show(**options: Any) -> None:
    """One account: limits, what is in flight, units used, the secret that signs its callbacks."""
    call("account_commands.show", **options)


@account.command("set")
@_name
@click.option("--concurrency", type=click.IntRange(0, 1_000_000), help="Images in flight at once.")
@click.option("--units", metavar="N|none", help="Units it may use in all; none: no limit.")
@click.option("--disable/--enable", "disabled", default=None, help="Whether its requests are refused.")
@_data_options
@_json_option
def account_set(**options: Any) -> None:
    """Change an account's limits. Works at once, also beside a running server; work under way goes on."""
    call("account_commands.change", **options)


@account.command("rotate-secret")
@_name
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, 24 * 30),
    default=24.0,
    show_default=True,
    help="How long the old secret signs too.",
)
@_data_options
@_json_option
def account_rotate_secret(**options: Any) -> None:
    """Make a new secret for the account's callbacks. During the overlap each message carries both signatures."""
    call("account_commands.rotate", **options)


@cli.group()
def key() -> None:
    """Keys that open an account."""


_account = click.argument("account")


@key.command("create")
@_account
@click.option("--jwt", is_flag=True, help="An access key and secret key, for clients that sign their own tokens.")
@click.option("--model", "models", multiple=True, help="Allow only this model. Repeatable. [default: all]")
@_data_options
@_json_option
def key_create(**options: Any) -> None:
    """Make a key for ACCOUNT. It is shown now and never again."""
    call("account_commands.create_key", **options)


@key.command("list")
@_account
@_data_options
@_json_option
def key_list(**options: Any) -> None:
    """The keys of ACCOUNT, by their first characters."""
    call("account_commands.list_keys", **options)


@key.command("revoke")
@_account
@click.argument("prefix")
@_data_options
@_json_option
def key_revoke(**options: Any) -> None:
    """End the key of ACCOUNT that starts with PREFIX (or is it). Works at once."""
    call("account_commands.revoke_key", **options)


@cli.group()
def task() -> None:
    """Tasks of an account."""


_of_account = click.option("--account", default="default", show_default=True)


@task.command("list")
@_of_account
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@_data_options
@_json_option
def task_list(**options: Any) -> None:
    """The newest tasks."""
    call("task_commands.list_all", **options)


@task.command("show")
@click.argument("id")
@_of_account
@_data_options
@_json_option
def task_show(**options: Any) -> None:
    """One task, by its id or external id."""
    call("task_commands.show", **options)


@task.command("cancel")
@click.argument("id")
@_of_account
@_data_options
@_json_option
def task_cancel(**options: Any) -> None:
    """End a task that has not ended; its quota and units come back."""
    call("task_commands.cancel", **options)


@cli.group()
def element() -> None:
    """Saved elements: what a prompt cites as <<<element_1>>>."""


@element.command("create")
@click.argument("name")
@click.option("--frontal", required=True, metavar="PATH|URL", help="What it looks like from the front.")
@click.option(
    "--refer", multiple=True, required=True, metavar="PATH|URL", help="Another side of it. Repeatable, up to 3 times."
)
@click.option("--description", help="At most 100 characters. [default: its name]")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="o_101 to o_108; see docs/elements.md. Repeatable.")
@_of_account
@_data_options
@_json_option
def element_create(**options: Any) -> None:
    """Save an element under NAME, of two to four pictures.

    framehouse element create "Red bag" --frontal bag.png --refer bag-side.png --tag o_104
    """
    call("element_commands.create", **options)


@element.command("list")
@click.option("--presets", "show_presets", is_flag=True, help="Those that ship with Framehouse.")
@_of_account
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@_data_options
@_json_option
def element_list(**options: Any) -> None:
    """The account's elements, newest first."""
    call("element_commands.list_all", **options)


@element.command("delete")
@click.argument("id")
@_of_account
@_data_options
@_json_option
def element_delete(**options: Any) -> None:
    """Delete the element ID. Tasks accepted before are not touched."""
    call("element_commands.delete", **options)


@cli.group()
def callback() -> None:
    """Callbacks: what was told to whom, once more, and a receiver to try them with."""


@callback.command("list")
@click.argument("task", required=False)
@click.option("--failed", is_flag=True, help="Only what was refused, given up, or is being tried again.")
@_of_account
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@_data_options
@_json_option
def callback_list(**options: Any) -> None:
    """The newest messages (of one TASK, by either id): how often tried, the last answer, the next try."""
    call("callback_commands.list_all", **options)


@callback.command("resend")
@click.argument("id")
@_of_account
@_data_options
@_json_option
def callback_resend(**options: Any) -> None:
    """Send a message again, now, with its old webhook-id. ID is as `callback list` shows it."""
    call("callback_commands.resend", **options)


@callback.command("listen")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--secret", envvar="FRAMEHOUSE_CALLBACK_SECRET", help="whsec_… to verify with. [default: the account's]")
@_of_account
@_data_options
@_json_option
def callback_listen(**options: Any) -> None:
    """A small receiver for development: verifies each message and prints it. Ends with Ctrl-C.

    The server must allow private addresses to reach it: FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1 framehouse serve
    """
    call("callback_commands.listen", **options)


@cli.group()
def models() -> None:
    """Weights for the engine diffusers: what is here, and how more comes."""


@models.command("pull")
@click.argument("repository")
@click.option("--revision", default="main", show_default=True, help="A branch, a tag or a commit.")
@_json_option
def models_pull(**options: Any) -> None:
    """Fetch REPOSITORY's weights from the Hugging Face hub and check them; interrupted, it goes on the next time.

    They come into the cache that Hugging Face's own programs use (HF_HOME, HF_HUB_CACHE). HF_TOKEN opens what is gated.

    framehouse models pull black-forest-labs/FLUX.2-klein-4B
    """
    call("model_commands.fetch", **options)


@models.command("list")
@_data_options
@_json_option
def models_list(**options: Any) -> None:
    """The weights that are here, whether they are complete, and which configured models use them."""
    call("model_commands.list_all", **options)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--without-pictures", is_flag=True, help="Only what cannot be painted again: database and settings.")
@_data_options
@_json_option
def backup(**options: Any) -> None:
    """Copy the embedded database, the pictures and framehouse.toml into FILE, also while a server runs. "-" is stdout.

    Who has the file can act as every account: it is readable by you alone.
    """
    call("backup.back_up", **options)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@_data_options
@_json_option
def restore(**options: Any) -> None:
    """Fill a data folder that has no database from FILE, which `backup` wrote; "-" is stdin.

    Restore only what you backed up yourself: the database does what it says.
    """
    call("backup.restore", **options)


@cli.command()
@_data_options
@_json_option
def doctor(**options: Any) -> None:
    """Look for what is wrong, and say what to do about it. Exit code 1 if something needs doing."""
    call("doctor.run", **options)


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
        if _wants_json() and not isinstance(problem, Problem):
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
