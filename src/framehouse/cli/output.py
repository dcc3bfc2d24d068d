"""The output of commands: JSON results and error messages."""

import json
import sys
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
            click.echo(json.dumps({"error": {"message": self.message, "code": self.code}}, ensure_ascii=False))
        else:
            click.echo(f"Error: {self.message}", err=True)


def json_requested() -> bool:
    context = click.get_current_context(silent=True)
    return "--json" in sys.argv[1:] or bool(context and context.params.get("as_json"))


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))
