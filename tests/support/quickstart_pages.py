"""The blocks of a quick-start page, and the comparison of a program's output with the output that the page states."""

import json
import re
import shlex
from dataclasses import dataclass

PROGRAMS = ("sh", "python", "js", "ts")
DATA = ("text", "json", "toml")
"""Blocks in these languages are not executed. A `text` block directly after a program is the program's output."""
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"(?:#|//) not run in tests\b")
_INSTALL = re.compile(r"(?:python3? -m )?pip install |npm (?:install|i) ")
_VALUE_OPTIONS = ("-r", "--requirement", "-c", "--prefix")


@dataclass(frozen=True, slots=True)
class Block:
    """A program of a page. `output` is the text that the page states as its output, or None."""

    language: str
    source: str
    line: int
    output: str | None


def programs_of(page: str) -> list[Block]:
    """Return the programs of a page that tests run.

    Raises ValueError if a block has an unknown language, a JSON block is invalid, or the page has no program.
    """
    found = list(_BLOCK.finditer(page))
    if page.count("\n```") + page.startswith("```") != 2 * len(found):
        raise ValueError("a block is not closed")
    blocks: list[Block] = []
    for match, following in zip(found, [*found[1:], None], strict=False):
        language, source, line = match[1].strip(), match[2], page.count("\n", 0, match.start()) + 1
        if language not in PROGRAMS + DATA:
            raise ValueError(f'line {line}: the language "{language}" is not one of {", ".join(PROGRAMS + DATA)}')
        if language == "json" and "…" not in source:
            json.loads(source)
        if language not in PROGRAMS or _NOT_RUN.match(source):
            continue
        output = following[2] if following and following[1].strip() == "text" else None
        blocks.append(Block(language, source, line, output))
    if not blocks:
        raise ValueError("the page has no program that tests run")
    return blocks


def split_installs(source: str) -> tuple[str, list[str], list[str]]:
    """Return a shell program without its install commands, and the packages of pip and of npm."""
    kept, pip, npm = [], list[str](), list[str]()
    for line in source.replace("\\\n", " ").splitlines() if _has_install(source) else source.splitlines():
        if not (match := _INSTALL.match(line.strip())):
            kept.append(line)
            continue
        words = shlex.split(line.strip()[match.end() :], comments=True)
        names = [word for word, before in zip(words, ["", *words], strict=False) if before not in _VALUE_OPTIONS]
        (npm if line.strip().startswith("npm") else pip).extend(name for name in names if not name.startswith("-"))
    return "\n".join(kept) + "\n", pip, npm


def _has_install(source: str) -> bool:
    return any(_INSTALL.match(line.strip()) for line in source.splitlines())


def matches(stated: str, real: str) -> bool:
    """Return whether a real output matches the output that a page states.

    `…` in the stated output stands for any text in the line. A line that contains only `…` stands for any lines.
    """
    parts = []
    for line in stated.strip("\n").splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append("[^\n]*".join(map(re.escape, line.rstrip().split("…"))) + r"[ ]*\n")
    return re.fullmatch("".join(parts), real.strip("\n") + "\n") is not None
