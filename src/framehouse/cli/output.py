"""The output of commands: JSON results and error messages."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import click

EXIT_FAILED = 1


class Problem(click.ClickException):
    """An error that ends a command. The message describes the problem and its solution.

    With --json, the error is printed to stdout as JSON. The default exit code is 1.
    """

    def __init__(self, message: str, *, code: int | None = None, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code
        vars(self)["exit_code"] = exit_code  # click declares `exit_code` as a class attribute

    def show(self, file: Any = None) -> None:
        if json_requested():
            echo(json_text({"error": {"message": self.message, "code": self.code}}))
        else:
            echo(f"Error: {self.message}", err=True)


def json_requested() -> bool:
    context = click.get_current_context(silent=True)
    return "--json" in sys.argv[1:] or bool(context and context.params.get("as_json"))


def echo(text: str, *, err: bool = False) -> None:
    """Print text. Each character that cannot be printed, except a line break, is replaced with U+FFFD.

    Prompts and ids come from clients. Control characters in prompts and ids could change the state of a terminal, or
    hide text.
    """
    click.echo("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text), err=err)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON. Characters that cannot be printed are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def print_json(value: object) -> None:
    echo(json_text(value, indent=2))


def program() -> str:
    """Return the name of this program, for a command that a user can copy, or its path if the PATH does not have it."""
    return "framehouse" if shutil.which("framehouse") else str(Path(sys.executable).with_name("framehouse"))
