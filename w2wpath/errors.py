"""Every error that w2wpath raises on purpose. A message says where, what is wrong, and the cure.

::

    W2wError
    ├── ConfigError            (ValueError)         a setting, flag or TOML key
    ├── SlideError             (OSError)            a slide is missing, unreadable, or its pixels are
    │   └── MissingMppError    (LookupError)        the slide does not say how many um a pixel covers
    ├── AnnotationError        (ValueError)         a GeoJSON is not what QuPath writes, or has no usable ROI
    ├── FrameError             (ValueError)         the frame of the annotations is not known
    ├── CohortError            (ValueError)         a cohort table is wrong
    ├── StoreError             (OSError)            a tile store is missing, foreign, of another schema, damaged
    ├── FoldError              (ValueError)         patients or classes do not suffice for the folds
    ├── RunError               (ValueError)         a run of `clean` is missing, unfinished or of another store
    ├── ReviewError            (ValueError)         verdicts on tiles are wrong, or cannot be read
    ├── ModelError             (ValueError)         a model is missing, damaged, or made for something else
    ├── TruthError             (ValueError)         a truth table for scoring is wrong
    ├── NonFiniteScoreError    (ArithmeticError)    a tile has no finite score
    ├── DeviceError            (RuntimeError)       the device asked for is not there
    └── DiskError              (OSError)            writing failed: disk full, quota, file-size limit
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class W2wError(Exception):
    """Base of every error that w2wpath raises on purpose; its text is meant for a person."""


class ConfigError(W2wError, ValueError):
    """A setting, flag or TOML key is unknown, misspelt or out of range."""


class SlideError(W2wError, OSError):
    """A slide is missing or unreadable, or some of its pixels are."""


class MissingMppError(SlideError, LookupError):
    """The slide does not say how many um a pixel covers."""


class AnnotationError(W2wError, ValueError):
    """An annotation file cannot be read, or holds no usable region."""


class FrameError(W2wError, ValueError):
    """The frame of the annotations cannot be known for sure."""


class CohortError(W2wError, ValueError):
    """A cohort table is wrong."""


class StoreError(W2wError, OSError):
    """A tile store is missing, foreign, of another schema, or damaged."""


class FoldError(W2wError, ValueError):
    """Patients or classes do not suffice for the folds."""


class RunError(W2wError, ValueError):
    """A run of `clean` is missing, unfinished, or belongs to another state of the store."""


class ReviewError(W2wError, ValueError):
    """Verdicts on tiles are wrong, or their file cannot be read."""


class ModelError(W2wError, ValueError):
    """A model is missing, damaged, or made for other classes or another scale."""


class TruthError(W2wError, ValueError):
    """A truth table for scoring is missing or wrong."""


class NonFiniteScoreError(W2wError, ArithmeticError):
    """A tile has no finite score."""


class DeviceError(W2wError, RuntimeError):
    """The device asked for is not there."""


class DiskError(W2wError, OSError):
    """Writing failed: the disk is full, or a quota or file-size limit was met."""


_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file-size limit is met",
}


def full_disk(error: BaseException) -> str | None:
    """Say in words how a write ran out of room; None when `error` is something else.

    The chain of causes is followed, since libraries wrap the operating system's error.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return _FULL[seen.errno]
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk met while writing `path` into a :class:`DiskError` that names it and the cure."""
    try:
        yield
    except W2wError:
        raise
    except Exception as error:
        why = full_disk(error)
        if why is None:
            raise
        raise DiskError(
            f"{path}: could not be written, {why}. Nothing that was there before has changed; "
            "make room (or choose another place with -o) and run the same command again."
        ) from error


def did_you_mean(value: str, known: Sequence[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(value, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
