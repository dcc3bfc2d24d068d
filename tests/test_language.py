"""The language of the repository: plain sentences, and names that mean one thing."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.prose import ROOT, RULES, Sentence, sentences_of, tracked_files
from tests.support.syntax_tree import parse

MATCHES = {"src": 0, "clients": 0, "docs": 0, "tests": 0, "bench": 0, "scripts": 0, "deploy": 0, ".": 0}
"""How many sentences of each folder break a rule of `tests.support.prose`; "." is the top level. They may only fall."""


@pytest.mark.parametrize("folder", MATCHES)
def test_sentences_are_plain(folder: str) -> None:
    patterns = ["*.md", "*.toml"] if folder == "." else [folder]
    names = [name for name in tracked_files(*patterns) if folder != "." or "/" not in name]
    found = [sentence for name in names for sentence in sentences_of(name) if sentence.rule]
    listed = "\n".join(f"{s.file}:{s.line}: {s.rule}: {s.text}" for s in found)
    assert len(found) <= MATCHES[folder], f"rewrite these sentences:\n{listed}"
    assert len(found) == MATCHES[folder], f"well done: lower the number of {folder} in MATCHES to {len(found)}"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The lease of who leaves last is released.", "put a noun before the relative clause"),
        ("Who waits longest is served first.", "put a noun before the relative clause"),
        ("The picture is stored once.", "use the term of docs/glossary.md"),
        ("It is refused, for the key is unknown.", "use because"),
        ("None where nothing was saved.", "use if or when for a condition"),
        ("All tasks are accepted at once.", "say immediately, or at the same time"),
        ("Nobody reads the body before its key is verified.", "name the person or the process"),
        ("A worker renews its leases every ten seconds.", ""),
        ("The parameter is called `include=pictures`, and its value is a list.", ""),
        ("The oil painting style has two layers of strokes.", ""),
    ],
)
def test_a_rule_finds_its_construction(text: str, rule: str) -> None:
    assert not rule or rule in RULES
    assert Sentence("x.md", 1, text).rule == rule


def test_no_two_modules_define_a_class_of_the_same_name() -> None:
    modules: dict[str, list[str]] = defaultdict(list)
    for name in tracked_files("src/*.py"):
        for node in ast.walk(parse((ROOT / name).read_text())):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(str(Path(name)))
    assert not {name: found for name, found in modules.items() if len(found) > 1}


def test_lines_of_docs_are_short() -> None:
    """Tables and links cannot be wrapped."""
    long = [
        f"{name}:{number}"
        for name in tracked_files("*.md")
        for number, line in enumerate((ROOT / name).read_text().split("\n"), 1)
        if len(line) > 120 and not line.startswith("|") and "](http" not in line
    ]
    assert not long
