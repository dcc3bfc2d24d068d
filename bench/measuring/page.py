"""The table of docs/speed.md, from the file of the last runs."""

import json
import re
from collections.abc import Sequence

from measuring.comparisons import RESULTS
from measuring.framehouse_processes import BENCH

_PAGE = BENCH.parent / "docs" / "speed.md"
_PLACE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", re.DOTALL)


def write_page(parts: Sequence[str]) -> None:
    """Renew the table with what was found of each part, in this order."""
    found = json.loads(RESULTS.read_text())
    lines = ["| what | against | found | wanted | ours | theirs | floor |", "|---|---|---|---|---|---|---|"]
    for row in (row for part in parts if part in found for row in found[part]["figures"]):
        told = f"{row['found']:.3g} {row['unit']}".strip()
        cells = [row["what"], row["against"], told if row["held"] else f"**{told}**", row["reach"]]
        lines.append("| " + " | ".join([*cells, row["ours"], row["theirs"], row["floor"]]) + " |")
    page = _PAGE.read_text()
    _PAGE.write_text(_PLACE.sub(lambda _: "\n".join(lines) + "\n", page))
