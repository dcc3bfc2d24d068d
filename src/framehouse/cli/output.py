"""What commands print: JSON, and problems with what to do about them."""

import json
import sys
from typing import Any

import click

EXIT_FAILED = 1


class Problem(click.ClickException):
    """Something to tell the user in one sentence, with what to do; exit code 1. Under --json it is JSON on stdout."""

    def __init__(self, message: str, *, code: int | None = None, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code
        vars(self)["exit_code"] = exit_code  # the library declares it for the class

    def show(self, file: Any = None) -> None:
        if wants_json():
            click.echo(json.dumps({"error": {"message": self.message, "code": self.code}}, ensure_ascii=False))
        else:
            click.echo(f"Error: {self.message}", err=True)


def wants_json() -> bool:
    context = click.get_current_context(silent=True)
    return "--json" in sys.argv[1:] or bool(context and context.params.get("as_json"))


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))
