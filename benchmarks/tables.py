"""Plain text tables, in Markdown so that they can be pasted into a page."""

import math
from collections.abc import Sequence

MET, MISSED, UNKNOWN = "met", "MISSED", "not measured"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns; floats get one to three digits, NaN a dash."""
    texts = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in texts
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _text(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    if not math.isfinite(cell):
        return "-"
    if cell == int(cell) or abs(cell) >= 100:
        return f"{cell:.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.3f}"


def target(name: str, figure: float, limit: float, unit: str) -> str:
    """One line that says whether a figure is at most its limit."""
    if figure != figure:
        return f"{UNKNOWN:>12}  {name}: at most {limit:g} {unit}"
    verdict = MET if figure <= limit else MISSED
    return f"{verdict:>12}  {name}: {_text(float(figure))} {unit}, at most {limit:g} {unit}"
