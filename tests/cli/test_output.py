"""The output of commands contains no control characters of clients."""

import json

import pytest

from framehouse.cli.output import echo, json_text, print_json

HOSTILE = "a\x1b[2J\x9b31m\u202e\x07fox\u0000\r"


def test_control_characters_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"one {HOSTILE}\ntwo 狐狸 🦊")
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("one a�[2J�31m��fox��")
    assert printed.splitlines()[1] == "two 狐狸 🦊"
    assert all(c.isprintable() or c == "\n" for c in printed)


def test_json_has_the_same_value_but_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"prompt": HOSTILE, "name": "狐狸"}
    print_json(value)
    printed = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in printed)
    assert json.loads(printed) == json.loads(json_text(value)) == value
    assert "狐狸" in printed
