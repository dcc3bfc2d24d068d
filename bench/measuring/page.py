"""The table of docs/speed.md, from the file of the latest results."""

import json
import re
from collections.abc import Sequence

from measuring.comparisons import RESULTS
from measuring.framehouse_processes import BENCH

_PAGE = BENCH.parent / "docs" / "speed.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", re.DOTALL)


def write_page(parts: Sequence[str]) -> None:
    """Replace the table by the figures of these parts, in this order. A result that missed its target is bold."""
    results = json.loads(RESULTS.read_text())
    lines = [
        "| measurement | compared with | result | target | ours | theirs | floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in (row for part in parts if part in results for row in results[part]["figures"]):
        result = f"{row['result']:.3g} {row['unit']}".strip()
        cells = [
            row["measurement"],
            row["compared_with"],
            result if row["target_met"] else f"**{result}**",
            row["target"],
            row["ours"],
            row["theirs"],
            row["floor"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    page = _PAGE.read_text()
    _PAGE.write_text(_TABLE.sub(lambda _: "\n".join(lines) + "\n", page))
