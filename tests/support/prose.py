"""Finds sentences that are not plain English in docs, docstrings, comments and messages.

`python -m tests.support.prose [FILE...]` prints the sentences with the rule that they break. The rules find idiom, not
missing antecedents or missing verbs: a reader has to find those.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.syntax_tree import parse

ROOT = Path(__file__).parents[2]
RULES = {
    "use the term of docs/glossary.md": (
        r"[Pp]ictures?|(?<!oil )[Pp]aint(?:s|ed|ing|er|ers)?|[Hh]asten(?:s|ed|ing)?|[Mm]end(?:s|ed|ing)?"
        r"|[Rr]eckon(?:s|ed)?"
        r"|[Ll]ibrarian|living (?:worker|key|account)s?|(?:a|the|our|whole|this) house"
    ),
    "put a noun before the relative clause": (
        r"(?:by|for|to|of|from|with|than) who(?:ever)?(?! you)"
        r"|(?:^|(?<=[.;:] ))[Ww]ho(?! (?:is|are|can|should|may)\b.*\?)"
        r"|(?:^|(?<=[.;:,(] )|\b(?:and|but|of|for|with|by|from|only|all) )[Ww]hat (?:is|was|are|were|has|had|hangs?"
        r"|waits?|fails?|comes?|came|cannot|goes|stands|differs|remains)(?! wrong)(?!.*\?)"
    ),
    "name the person or the process": r"[Ww]hoever|[Ss]omebody|[Nn]obody|[Ee]verybody|[Ww]homever|he|him|his|himself",
    "use if or when for a condition": (
        r"(?:0|None|[Ee]mpty|null|[Rr]aises? \w+) where|[Ww]here (?:nothing|none|it|that) (?:is|are|was|has)"
    ),
    "use because": (
        r"(?<=, )for (?:an?|the|its?|they|no|others?|what|that|one|then|there)(?: [\w`'-]+){1,8}? "
        r"(?:is|are|was|were|would|could|cannot|has|have|shows?|took|needs?)"
    ),
    "say immediately, or at the same time": r"(?:at|all at) once|outright",
    "say next to, or in addition to": r"[Bb]esides?",
    "name the thing that so refers to": r"[Ss]o (?:long|many|much|few|often)(?! (?:as|that)\b)",
    "use try, query or request": r"(?:is|are|was|were|be|been) asked(?! (?:to|for|whether|if)\b)",
    "use report, expose or log": r"[Tt]old|[Tt]ells|(?:says?|said) (?:so|nothing)",
    "use return, continue or become": (
        r"(?:came|comes?|coming) back(?! up\b)|became of|(?:go|goes|went|going) on(?! to\b)"
    ),
    "use a current word": r"anew|insides|all the same|worth while|thereof|hitherto|lest|of (?:its|their) own words",
}
_RULES = [(rule, re.compile(rf"(?<![\w/.=-])(?:{pattern})(?![\w=-])")) for rule, pattern in RULES.items()]
_EXEMPT = re.compile(
    r"previz/(?:lexicon|vocabulary|reading|pictograms)|/golden/|fuzz/corpus|assets/|/migrations/"
    r"|support/prose\.py$|test_(?:language|prompt|reading)\.py$|draw_presets\.py$"
)
"""Files that hold words as data, and released migrations: a migration's checksum includes its comments."""
_NOT_PROSE = re.compile(r"\\[bswd]|\(\?|\w\|\w+\|\w|^\s*(?:select|update|insert|delete|with|create) ")
"""Strings that are regular expressions or SQL statements."""
_NOT_READ = re.compile(r"`[^`]*`|\"[^\"]{1,60}\"|https?://\S+|\S*\?include=\S*|<[^>]*>")
"""Code, quotations, URLs and HTML tags."""
_SENTENCE_END = re.compile(r"(?<=[.?!])[*`)\"]*\s+(?=[*`(\"\[A-Z0-9-])")
_COMMENTS = {".py": None, ".md": None, ".sql": "--", ".js": "//", ".toml": "#", ".yml": "#", ".yaml": "#"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with its place; `rule` is the first rule that it breaks, empty if there is none."""

    file: str
    line: int
    text: str

    @property
    def rule(self) -> str:
        prose = _NOT_READ.sub("X", self.text)
        return next((rule for rule, pattern in _RULES if pattern.search(prose)), "")


def sentences_of(name: str) -> list[Sentence]:
    """The sentences of a file below the repository's folder; none if the file holds no prose."""
    suffix = Path(name).suffix
    if _EXEMPT.search(name) or suffix not in _COMMENTS:
        return []
    text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
    paragraphs = {".md": _markdown, ".py": _python}.get(suffix)
    found = paragraphs(text) if paragraphs else _line_comments(text, str(_COMMENTS[suffix]))
    return [Sentence(name, line, sentence) for line, paragraph in found for sentence in _split(paragraph)]


def _split(paragraph: str) -> list[str]:
    parts = _SENTENCE_END.split(" ".join(paragraph.split()))
    return [part for part in parts if len(re.findall(r"[A-Za-z]{2,}", part)) >= 3]


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    fenced, start, paragraph = False, 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            continue
        elif line.startswith("|"):
            yield from ((number, cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        elif line.strip() and not line.startswith(("#", "- ")):
            start = start if paragraph else number
            paragraph.append(line)
        else:
            yield start, " ".join(paragraph)
            start, paragraph = number, [line.lstrip("#- ")] if line.strip() else []


def _python(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _NOT_PROSE.search(node.value):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(noqa|type:|nosec)", token.string):
            yield token.start[0], token.string.lstrip("# ")


def _line_comments(text: str, mark: str) -> Iterator[tuple[int, str]]:
    """Comments after a mark and in /* … */; comments on consecutive lines are one paragraph."""
    start, paragraph = 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        comment = re.match(rf"\s*(?:{re.escape(mark)}|/?\*+)(.*)", line)
        if comment:
            start = start if paragraph else number
            paragraph.append(comment[1].removesuffix("*/"))
        elif paragraph:
            yield start, " ".join(paragraph)
            paragraph = []


def tracked_files(*patterns: str) -> list[str]:
    """The files of the repository that match, new files included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(name for name in set(listed.stdout.split("\n")) if name and (ROOT / name).is_file())


def main() -> int:
    found = [sentence for name in sys.argv[1:] or tracked_files() for sentence in sentences_of(name)]
    matches = [sentence for sentence in found if sentence.rule]
    for sentence in matches:
        print(f"{sentence.file}:{sentence.line}: {sentence.rule}: {sentence.text[:200]}")  # noqa: T201
    print(f"{len(matches)} of {len(found)} sentences")  # noqa: T201
    return bool(matches)


if __name__ == "__main__":
    sys.exit(main())
