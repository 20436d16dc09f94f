"""Many slides: one that fails is told and the others go on; what is there already is not read again."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import file_bytes
from tests.heatmaps.made import SEEN, ColourReader, save_slide
from w2wpath.config import HeatmapSettings
from w2wpath.errors import ModelError
from w2wpath.heatmaps.cohort import Job, Outcome, heatmaps, read_one
from w2wpath.tiles.entries import SlideEntry
from w2wpath.w2wnet.domain import DomainReference

SETTINGS = HeatmapSettings(batch_size=5)


@pytest.fixture
def slides(tmp_path: Path) -> list[SlideEntry]:
    """Two slides, and between them a file that is none."""
    (tmp_path / "b.svs").write_text("no slide")
    names = [save_slide(tmp_path / "a.svs"), tmp_path / "b.svs", save_slide(tmp_path / "c.svs", seen=SEEN[:2])]
    return [SlideEntry(path) for path in names]


def read(entries: list[SlideEntry], out: Path, reader: ColourReader | None = None, **options: object) -> list[Outcome]:
    return heatmaps(entries, lambda: reader or ColourReader(), out, SETTINGS, **options)  # type: ignore[arg-type] # passed on


def test_a_slide_that_cannot_be_read_is_told_and_the_others_are_whole(tmp_path: Path, slides: list[SlideEntry]) -> None:
    out = tmp_path / "out"
    found = read(slides, out)
    assert [(one.slide, one.status) for one in found] == [("a", "read"), ("b", "failed"), ("c", "read")]
    assert found[1].error == (
        f"{tmp_path / 'b.svs'}: not a readable slide (Unsupported or missing image file). Check that the file is whole."
    )
    assert all(path.exists() for one in found for path in one.files)
    rows = list(csv.DictReader((out / "slides.csv").read_text("utf-8").splitlines()))
    assert [row["slide"] for row in rows] == ["a", "b", "c"]
    assert [row["error"] for row in rows] == ["", found[1].error, ""]
    assert rows[0]["confident"] == str(found[0].summary["tiles"]["confident"])  # type: ignore[index] # it was read


def test_what_has_been_read_is_left_alone_unless_something_is_different(
    tmp_path: Path, slides: list[SlideEntry]
) -> None:
    out = tmp_path / "out"
    first = read(slides, out)
    before = file_bytes(out)
    reader = ColourReader()
    again = read(slides, out, reader)
    assert [one.status for one in again] == ["unchanged", "failed", "unchanged"]
    assert [one.summary for one in again] == [one.summary for one in first]
    assert [one.files for one in again] == [one.files for one in first]
    assert reader.asked == []
    assert {**file_bytes(out), "slides.csv": b""} == {**before, "slides.csv": b""}
    assert [one.status for one in read(slides, out, ColourReader(identity="other"))] == ["read", "failed", "read"]
    assert [one.status for one in read(slides, out, overwrite=True)] == ["read", "failed", "read"]
    (out / "a.summary.json").unlink()
    assert [one.status for one in read(slides, out)] == ["read", "failed", "unchanged"]
    save_slide(tmp_path / "c.svs", seen=SEEN[:3])
    assert [one.status for one in read(slides, out)] == ["unchanged", "failed", "read"]
    wider = [replace(one, slide_mpp=0.25) for one in slides]
    assert [one.status for one in read(wider, out)] == ["read", "failed", "read"]


def test_processes_read_the_same(tmp_path: Path, slides: list[SlideEntry]) -> None:
    alone = read(slides, tmp_path / "alone")
    many = heatmaps(slides, partial(ColourReader), tmp_path / "many", SETTINGS, workers=2)
    assert [(one.slide, one.status, one.summary, one.error) for one in many] == [
        (one.slide, one.status, one.summary, one.error) for one in alone
    ]
    for name in ("a.tiles.csv", "a.geojson.gz", "c.overlay.png"):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_a_process_loads_its_model_once_for_all_its_slides_and_never_an_older_one(
    tmp_path: Path, slides: list[SlideEntry]
) -> None:
    loaded: list[str] = []

    def job(entry: SlideEntry, identity: str, found: str) -> Job:
        def load() -> ColourReader:
            loaded.append(found)
            return ColourReader(identity=found)

        return Job(entry, load, identity, tmp_path / "out", SETTINGS, overwrite=True)

    one, _, two = slides
    assert [read_one(job(entry, "first", "first")).status for entry in (one, two)] == ["read", "read"]
    assert loaded == ["first"]
    assert read_one(job(one, "second", "second")).status == "read"
    assert loaded == ["first", "second"]
    failed = read_one(job(one, "third", "fourth"))
    assert (failed.status, failed.error) == (
        "failed",
        f"{one.slide}: the model is another one than when the command began. "
        "Let it alone until the slides are read, and run the command again.",
    )


def test_settings_that_the_model_cannot_be_used_with_are_refused_at_once(
    tmp_path: Path, slides: list[SlideEntry]
) -> None:
    with pytest.raises(ModelError) as caught:
        heatmaps(slides, ColourReader, tmp_path / "out", HeatmapSettings(draws=3))
    assert str(caught.value) == (
        "the model's threshold was taken with 25 draws; asked for 3. "
        "Leave --draws out, or give a --threshold of your own."
    )
    assert not (tmp_path / "out").exists()


def test_a_slide_out_of_domain_says_so_in_the_table(tmp_path: Path, slides: list[SlideEntry]) -> None:
    odd = DomainReference(centre=(9.0, *[0.0] * 7, -1.0), spread=(0.1, *[9.0] * 8), slides=9)
    found = read(slides[:1], tmp_path / "out", ColourReader(domain=odd))
    assert found[0].out_of_domain
    (row,) = csv.DictReader((tmp_path / "out" / "slides.csv").read_text("utf-8").splitlines())
    assert row["domain"].startswith("outside: density in red ")
    assert not read(slides[:1], tmp_path / "plain")[0].out_of_domain
