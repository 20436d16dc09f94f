"""Write measured figures into Markdown, from the files of expected figures; none of them is typed by hand.

A table stands between two marks::

    <!-- figures: FILE.expected.json TABLE FIGURE SET[,SET...] -->
    <!-- end of figures -->

FILE is relative to the Markdown file. With TABLE ``headline`` a row is a kind of noise and a column a score; with any
other a row is a row of the study and a column a set. ``w2wpath bench report GRID -o OUT --expect FILE`` writes FILE.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

MARKED = re.compile(
    r"(<!-- figures: (?P<file>\S+) (?P<table>\S+) (?P<figure>[^<>]+?) (?P<sets>\S+) -->\n)(?P<old>.*?)"
    r"(?P<end><!-- end of figures -->)",
    re.DOTALL,
)


def main() -> int:
    """Fill the tables of some Markdown files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("markdown", type=Path, nargs="+")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where a figure differs")
    args = parser.parse_args()
    stale = 0
    for path in args.markdown:
        before = path.read_text("utf-8")
        after = filled(before, path.parent)
        stale += before != after
        if not args.check:
            path.write_text(after, "utf-8")
    return int(args.check and stale > 0)


def filled(text: str, home: Path) -> str:
    """Return Markdown with every table between marks made anew.

    Raises
    ------
    ValueError
        A mark names figures that the file does not have.
    """
    return MARKED.sub(lambda mark: f"{mark[1]}{_made(mark, home)}\n{mark['end']}", text)


def _made(mark: re.Match[str], home: Path) -> str:
    sets, table, figure = mark["sets"].split(","), mark["table"], mark["figure"]
    figures: dict[tuple[str, str], str] = {}
    for one in json.loads((home / mark["file"]).read_text("utf-8")):
        if (one["table"], one["figure"]) == (table, figure) and one["set"] in sets:
            row, column = one["row"].split(", ", 1) if table == "headline" else (one["row"], one["set"])
            interval = f" [{one['low']:.3f}, {one['high']:.3f}]" if "low" in one else ""
            figures[row, column] = f"{one['value']:.3f}{interval}"
    if not figures:
        raise ValueError(f"{mark['file']} has no figure {figure!r} of table {table!r} for {mark['sets']}")
    rows, columns = (list(dict.fromkeys(place[i] for place in figures)) for i in (0, 1))
    lines = [_line([figure, *columns]), f"|{'---|' * (len(columns) + 1)}"]
    for row in rows:
        lines.append(_line([row, *(figures.get((row, column), "–") for column in columns)]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
