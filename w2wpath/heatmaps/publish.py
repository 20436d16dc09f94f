"""Outputs of one slide appear together: written into a scratch folder, then put in place by rename."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from w2wpath.errors import DiskError, writing


def publish(out: Path, last: str, write: Callable[[Path], None]) -> tuple[Path, ...]:
    """Let `write` fill a scratch folder inside `out`, and put all that is in it in place; return the paths, sorted.

    Files and folders of the same names are replaced. The file named `last` is taken away first and put in place last:
    where it is, the rest is whole and of the same run.

    Raises
    ------
    DiskError
        There is no room; everything that was there stays as it was.
    """
    scratch = out / f".{last}.{uuid.uuid4().hex}.partial"
    with writing(out):
        try:
            scratch.mkdir(parents=True)
            write(scratch)
            made = sorted(scratch.iterdir(), key=lambda path: (path.name == last, path.name))
            (out / last).unlink(missing_ok=True)
            for path in made:
                _replace(path, out / path.name)
            return tuple(sorted(out / path.name for path in made))
        except DiskError as error:
            # it names a file in the scratch folder, which is gone by now
            raise DiskError(str(error).replace(str(scratch), str(out))) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _replace(fresh: Path, final: Path) -> None:
    if final.is_dir() and not final.is_symlink():
        # a folder cannot be renamed onto one that holds something
        final.rename(fresh.with_name(f"{fresh.name}.replaced"))
    os.replace(fresh, final)
