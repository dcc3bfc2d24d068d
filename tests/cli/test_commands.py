"""Lazy loading of commands: help and shell completion import no heavy modules."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from framehouse.cli import commands
from tests.support.command_line import FRAMEHOUSE, environment

HEAVY = {"asyncio", "asyncpg", "pydantic", "rich", "PIL", "numpy", "uvloop", "httpx", "framehouse.settings"}
_IMPORTED = """
import json, sys
from framehouse.cli.commands import cli
for command in cli.commands.values():
    command.load()
print(json.dumps(list(sys.modules)))
"""


def test_loading_all_commands_imports_no_heavy_module() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True)
    assert HEAVY & set(json.loads(done.stdout)) == set()


def test_listing_commands_imports_no_command() -> None:
    code = _IMPORTED.replace("command.load()", "command.get_short_help_str()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [name for name in json.loads(done.stdout) if name.startswith("framehouse.cli.")]
    assert sorted(names) == ["framehouse.cli.commands", "framehouse.cli.lazy_group", "framehouse.cli.output"]


@pytest.mark.parametrize(
    ("words", "completion"),
    [
        ("framehouse ba", "backup"),
        ("framehouse account cr", "create"),
        ("framehouse generate --resol", "--resolution"),
        ("framehouse generate --resolution 2", "2k"),
    ],
)
def test_the_shell_completes_commands_and_options(words: str, completion: str) -> None:
    variables = {"_FRAMEHOUSE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = "import sys; sys.argv[0] = 'framehouse'; from framehouse.cli import main; main()"
    done = subprocess.run(
        [FRAMEHOUSE[0], "-c", code], capture_output=True, text=True, env=environment(**variables), check=True
    )
    assert done.stdout.split() == [f"plain,{completion}"]


def test_ctrl_c_while_ctrl_c_is_being_ignored_does_not_kill_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal handler is replaced when the command ends. Ctrl-C may arrive inside this very call."""
    replace_handler, calls = signal.signal, []

    def interrupted(number: int, handler: Any) -> Any:
        calls.append(handler)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return replace_handler(number, handler)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(commands.cli, "main", lambda **_: 0)
    monkeypatch.setattr(signal, "signal", interrupted)
    try:
        with pytest.raises(SystemExit) as ended:
            commands.run()
        assert ended.value.code == 130
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        replace_handler(signal.SIGINT, before)
