"""Runs the programs of a quick-start page literally, in order, in one folder, as a reader does in one terminal."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command_line import environment
from tests.support.quickstart_packages import MissingPackage, provide_node_packages, python_paths
from tests.support.quickstart_pages import Block, matches, programs_of, split_installs

_DOCUMENTED_URL = "http://127.0.0.1:8000"
_TIMEOUT_S = 240
_TOOLS = ("curl", "jq")
_SHELL = r"""
state=$1; shift
[ ! -f "$state.shell" ] || . "$state.shell" 2>/dev/null || true
set -e -o pipefail
%s
{ declare -p | grep -v '^declare -[a-zA-Z]*r'; declare -f; } > "$state.shell"
env -0 > "$state.exported"
"""
"""Runs a shell program with the variables and functions of the page's earlier shell programs, as in one terminal."""


class WrongPage(AssertionError):
    """Raised if a program of a page fails, or its output differs from the output that the page states."""


@dataclass
class QuickstartRun:
    """The run of one page. `missing` contains the packages because of which programs were not run."""

    folder: Path
    url: str
    variables: dict[str, str]
    missing: list[MissingPackage] = field(default_factory=list)
    ran: int = 0
    _groups: list[int] = field(default_factory=list)

    def run(self, page: str) -> None:
        """Run all programs of a page whose packages are available.

        Raises WrongPage, and ValueError as `programs_of`.
        """
        blocks = programs_of(page)
        unavailable = self._provide(blocks)
        for block in blocks:
            tools = [tool for tool in _TOOLS if block.language == "sh" and tool in block.source.split()]
            missing = [MissingPackage(tool, tool) for tool in tools if shutil.which(tool) is None]
            if block.language in unavailable or missing:
                self.missing += missing
                continue
            output = self._run(block)
            self.ran += 1
            if block.output is not None and not matches(block.output, output.replace(self.url, _DOCUMENTED_URL)):
                raise WrongPage(f"line {block.line}: the page states\n{block.output}\nbut the output is\n{output}")

    def _provide(self, blocks: list[Block]) -> set[str]:
        """Provide the packages that the page installs. Returns the languages whose packages are missing."""
        python, node, unavailable = list[str](), list[str](), set[str]()
        languages = {block.language for block in blocks}
        for block in blocks:
            if block.language == "sh":
                _, pip, npm = split_installs(block.source)
                python += pip
                node += npm
        try:
            if paths := python_paths(python):
                self.variables["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        except MissingPackage as missing:
            self.missing.append(missing)
            unavailable.add("python")
        if languages & {"js", "ts"}:
            try:
                provide_node_packages(node + ["typescript", "@types/node"] * ("ts" in languages), self.folder)
            except MissingPackage as missing:
                self.missing.append(missing)
                unavailable |= {"js", "ts"}
        return unavailable

    def _run(self, block: Block) -> str:
        match block.language:
            case "sh":
                return self._run_shell(block)
            case "python":
                return self._call(["python", self._write(block, "py")], block)
            case "js":
                return self._call(["node", self._write(block, "mjs")], block)
        source = self._write(block, "mts")
        options = "--strict --target es2022 --lib es2022,dom,dom.iterable --module nodenext --types node --skipLibCheck"
        self._call(["node", "node_modules/typescript/bin/tsc", *options.split(), source], block)
        return self._call(["node", source.replace(".mts", ".mjs")], block)

    def _write(self, block: Block, suffix: str) -> str:
        name = f"program-{block.line}.{suffix}"
        (self.folder / name).write_text(block.source)
        return name

    def _run_shell(self, block: Block) -> str:
        source, _, _ = split_installs(block.source)
        state = self.folder.with_name(f"{self.folder.name}.state")
        output = self._call(["bash", "-c", _SHELL % source, "bash", str(state)], block)
        exported = Path(f"{state}.exported").read_bytes().decode(errors="replace").split("\0")
        known = self._environment()
        for name, _, value in (entry.partition("=") for entry in exported if "=" in entry):
            if known.get(name) != value and name not in ("_", "SHLVL", "PWD", "OLDPWD"):
                self.variables[name] = value
        return output

    def _environment(self) -> dict[str, str]:
        """The variables of the reader's terminal. Programs of the checkout come first in PATH."""
        base = environment()
        del base["PYTHONPATH"]
        path = os.pathsep.join((str(Path(sys.executable).parent), base["PATH"]))
        return base | {"PATH": path, "HOME": str(self.folder)} | self.variables

    def _call(self, command: list[str], block: Block) -> str:
        """Run a command and return its standard output. Raises WrongPage if the command fails or does not end.

        Processes that the command started in the background are killed by `stop`.
        """
        out, err = self.folder / ".out", self.folder / ".err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self._groups.append(process.pid)
        try:
            code = process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise WrongPage(f"line {block.line}: the program did not end within {_TIMEOUT_S} s") from None
        output = out.read_text(errors="replace")
        if code:
            errors = err.read_text(errors="replace")
            raise WrongPage(f"line {block.line}: the program ended with the code {code}\n{output}\n{errors}")
        return output

    def stop(self) -> None:
        """Kill the processes that programs of the page started in the background."""
        for group in self._groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
