"""The table of tiles is the same CSV that Python's own writer makes of the same rows."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.heatmaps.test_store import any_maps
from w2wpath.heatmaps.maps import REASONS, STATES, Maps
from w2wpath.heatmaps.table import tiles_csv
from w2wpath.w2wnet.domain import Domain


def by_the_writer(maps: Maps, where: str) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    says = ["state", "reason", "class", *(f"P({name})" for name in maps.classes), "u", "epistemic", "domain"]
    lines.writerow(["x0", "y0", "side0", *says])
    for i, best in enumerate(maps.predicted):
        at = [maps.x0[i], maps.y0[i], maps.side0, STATES[maps.state[i]], REASONS[maps.reason[i]]]
        numbers = [*maps.probs_nk[i], maps.u[i], maps.epistemic[i]]
        said = ["", *[""] * len(numbers)] if best < 0 else [maps.classes[best], *(f"{x:.4f}" for x in numbers)]
        lines.writerow([*at, *said, where])
    return text.getvalue()


DOMAINS = {"": None, "inside": Domain(True, 0.5), "outside": Domain(False, 1.5, ("eosin",))}


@given(maps=any_maps(), names=st.sampled_from([None, 'a,"b"\n']), where=st.sampled_from(sorted(DOMAINS)))
def test_the_table_is_what_the_csv_writer_would_write(maps: Maps, names: str | None, where: str) -> None:
    if names is not None:
        maps = replace(maps, classes=tuple(f"{names}{i}" for i in range(len(maps.classes))))
    assert tiles_csv(maps, DOMAINS[where]) == by_the_writer(maps, where)


def test_a_table_of_many_parts_has_every_row_once() -> None:
    n = 40_000
    empty = np.full(n, np.nan, dtype=np.float32)
    zeros = np.zeros(n, dtype=np.uint8)
    maps = Maps(
        classes=("A",),
        x0=np.arange(n, dtype=np.int32),
        y0=np.zeros(n, dtype=np.int32),
        side0=1,
        step0=1,
        width0=n,
        height0=1,
        slide_mpp=0.5,
        threshold=0.3,
        state=zeros,
        reason=zeros,
        probs_nk=empty[:, None],
        u=empty,
        aleatoric=empty,
        epistemic=empty,
        draws=zeros.astype(np.uint16),
        unread=zeros.astype(np.bool_),
    )
    lines = tiles_csv(maps).splitlines()
    assert lines[0] == "x0,y0,side0,state,reason,class,P(A),u,epistemic,domain"
    assert lines[1:] == [f"{x},0,1,not analysed,,,,,," for x in range(n)]
