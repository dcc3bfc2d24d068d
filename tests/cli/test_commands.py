"""Lazy loading of commands: help and shell completion import no heavy modules."""

import json
import subprocess
import sys

import pytest

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
