"""The import report: what became of every object of an annotation file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from w2wpath.provenance import write_whole

SCHEMA = 1
Status = Literal["kept", "repaired", "ignored"]


@dataclass(frozen=True, slots=True)
class Line:
    """One object.

    Attributes
    ----------
    index
        Its place in the file from 0; the store's `roi` column points at it.
    id, class_name
        As the file has them, the class after the class map; "" and None where there is none.
    status
        ``kept``, ``repaired`` (kept, but not as it was written) or ``ignored``.
    use
        ``label``, ``exclude`` (cut out of every class), ``scope`` (only area inside counts), ``core``; None if ignored.
    reason
        What was repaired, or why it was ignored; "" for nothing.
    parent
        Place of the object that holds it; None at the top.
    px_before, px
        Area in square pixels as written and as used; None where not repaired, or ignored.
    """

    index: int
    id: str
    class_name: str | None
    status: Status
    use: str | None
    reason: str = ""
    parent: int | None = None
    px_before: float | None = None
    px: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the line for JSON: ``class`` for `class_name`, areas to a hundredth, without what is None."""
        found = {key: value for key, value in asdict(self).items() if value is not None and key != "class_name"}
        for key in ("px_before", "px"):
            if key in found:
                found[key] = round(found[key], 2)
        return {**found, "class": self.class_name}


def counts(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the number of objects by status, and of the repaired and ignored ones by reason."""
    by_status = Counter(line.status for line in lines)
    return {
        "objects": len(lines),
        "kept": by_status["kept"],
        "repaired": by_status["repaired"],
        "ignored": by_status["ignored"],
        "ignored_by_reason": dict(sorted(Counter(line.reason for line in lines if line.status == "ignored").items())),
    }


def write_report(
    path: Path, file: str, lines: Sequence[Line], warnings: Sequence[str], facts: Mapping[str, Any]
) -> None:
    """Write the report as JSON, one line an object, whole or not at all; `facts` are added at the top."""
    head = {"schema": SCHEMA, "file": file, **facts, "counts": counts(lines), "warnings": list(warnings)}
    objects = ",\n".join(json.dumps(line.as_dict(), ensure_ascii=False) for line in lines)
    top = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    # a file name that is no text has half pairs; JSON spells them the way Python does
    write_whole(path, f'{top},\n "objects": [\n{objects}\n]}}\n'.encode(errors="backslashreplace"))
