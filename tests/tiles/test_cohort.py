"""Cohorts: one bad slide never stops the others; the same run twice changes nothing."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from tests.conftest import coordinate_image, feature, file_bytes, save_svs, write_geojson
from tests.tiles.tasks import tile_or_die
from w2wpath.config import TileSettings
from w2wpath.errors import CohortError, ConfigError, StoreError
from w2wpath.progress import Silent
from w2wpath.tiles.changes import assign_patients, relabel
from w2wpath.tiles.cohort import Outcome, tile
from w2wpath.tiles.entries import Entry, read_cohort, shard
from w2wpath.tiles.estimate import estimates
from w2wpath.tiles.store import SHARD_TILES, TileStore

SETTINGS = TileSettings(tile_px=64)
IMAGE = coordinate_image(640, 512)


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """Two good slides of one patient each."""
    rois = [("Tumor", box(0, 0, 256, 128)), ("Stroma", box(256, 0, 384, 128)), ("Ignore*", box(0, 0, 64, 64))]
    found = []
    for name in ("a", "b"):
        write_geojson(tmp_path / f"{name}.geojson", rois)
        slide = save_svs(tmp_path / f"{name}.svs", IMAGE if name == "a" else IMAGE[::-1].copy())
        found.append(Entry(slide, tmp_path / f"{name}.geojson", f"patient {name}"))
    return found


@pytest.fixture
def bad(tmp_path: Path) -> Entry:
    (tmp_path / "bad.svs").write_text("not a slide")
    return Entry(tmp_path / "bad.svs", tmp_path / "a.geojson", "patient c")


BAD = "{}: not a readable slide (Unsupported or missing image file). Check that the file is whole."


def statuses(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.slide, outcome.status) for outcome in outcomes]


def test_a_slide_becomes_labelled_tiles_cut_where_they_say(entries: list[Entry], tmp_path: Path) -> None:
    (outcome,) = tile(tmp_path / "tiles.zarr", entries[:1], SETTINGS)
    assert outcome == Outcome("a", "tiled", 11, (("Stroma", 4), ("Tumor", 7)))
    store = TileStore.open(tmp_path / "tiles.zarr")
    table = store.table()
    assert (table.classes, table.patients, table.n) == (("Stroma", "Tumor"), ("patient a",), 11)
    for pixels, x0, y0 in zip(store.images("a"), table.x0, table.y0, strict=True):
        assert np.array_equal(pixels, IMAGE[y0 : y0 + 64, x0 : x0 + 64])


def test_one_bad_slide_is_listed_and_the_others_go_on(entries: list[Entry], bad: Entry, tmp_path: Path) -> None:
    outcomes = tile(tmp_path / "tiles.zarr", [bad, *entries], SETTINGS)
    assert statuses(outcomes) == [("bad", "failed"), ("a", "tiled"), ("b", "tiled")]
    assert outcomes[0].error == BAD.format(bad.slide)
    assert TileStore.open(tmp_path / "tiles.zarr").slides() == ["a", "b"]


def test_two_workers_do_what_one_does(entries: list[Entry], bad: Entry, tmp_path: Path) -> None:
    one = tile(tmp_path / "one.zarr", [bad, *entries], SETTINGS)
    two = tile(tmp_path / "two.zarr", [bad, *entries], SETTINGS, workers=2)
    assert two == one
    assert file_bytes(tmp_path / "two.zarr") == file_bytes(tmp_path / "one.zarr")


def test_a_second_run_adds_its_slide_to_the_same_store(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    tile(store, entries[:1], SETTINGS)
    before = file_bytes(store)
    tile(store, entries[1:], SETTINGS)
    after = file_bytes(store)
    assert TileStore.open(store).slides() == ["a", "b"]
    assert {name: after[name] for name in before} == before


def test_the_same_run_again_changes_no_byte(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    tile(store, entries, SETTINGS)
    before = file_bytes(store)
    again = tile(store, entries, SETTINGS)
    assert statuses(again) == [("a", "unchanged"), ("b", "unchanged")]
    assert again[0].by_class == (("Stroma", 4), ("Tumor", 7))
    assert file_bytes(store) == before


def test_two_stores_of_the_same_slides_hold_the_same_bytes(entries: list[Entry], tmp_path: Path) -> None:
    for name in ("one", "two"):
        tile(tmp_path / name / "tiles.zarr", entries, SETTINGS)
        time.sleep(0.01)
    one, two = (file_bytes(tmp_path / name / "tiles.zarr" / "slides") for name in ("one", "two"))
    assert one == two
    assert not any(str(tmp_path).encode() in content for content in one.values())


def test_new_annotations_replace_the_slide(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    tile(store, entries, SETTINGS)
    write_geojson(entries[0].rois, [("Necrosis", box(0, 0, 128, 64))])
    outcomes = tile(store, entries, SETTINGS)
    assert statuses(outcomes) == [("a", "tiled"), ("b", "unchanged")]
    assert TileStore.open(store).table().classes == ("Necrosis", "Stroma", "Tumor")


def test_a_slide_that_turned_bad_leaves_its_old_tiles(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    tile(store, entries[:1], SETTINGS)
    before = file_bytes(store)
    entries[0].slide.write_text("not a slide")
    assert statuses(tile(store, entries[:1], SETTINGS)) == [("a", "failed")]
    assert file_bytes(store) == before


def test_a_slide_without_a_patient_is_told(entries: list[Entry], tmp_path: Path) -> None:
    (outcome,) = tile(tmp_path / "tiles.zarr", [Entry(entries[0].slide, entries[0].rois)], SETTINGS)
    assert outcome.patient_guessed
    assert TileStore.open(tmp_path / "tiles.zarr").table().patients == ("a",)


def test_objects_that_gave_no_region_are_counted(entries: list[Entry], tmp_path: Path) -> None:
    write_geojson(
        entries[0].rois, [("Tumor", box(0, 0, 64, 64)), (None, box(0, 0, 9, 9)), ("Region*", box(0, 0, 9, 9))]
    )
    (outcome,) = tile(tmp_path / "tiles.zarr", entries[:1], SETTINGS)
    assert outcome.skipped_objects == (("class Region* is not a label", 1), ("no class", 1))


def test_a_frame_that_is_not_certain_must_be_said(bounded_slide: Path, tmp_path: Path) -> None:
    rois = write_geojson(tmp_path / "r.geojson", [("Tumor", box(256, 128, 320, 192))])
    store = tmp_path / "tiles.zarr"
    (unsaid,) = tile(store, [Entry(bounded_slide, rois)], SETTINGS)
    picture = tmp_path / "tiles.zarr.imports" / "bounded.alignment.png"
    assert unsaid.error.startswith(
        f"{bounded_slide}: the annotations may count from the corner of the slide's bounds (qupath) or of the whole "
        "scan (slide), and the file does not record its frame: qupath (inside 100 %, on tissue 100 %); slide ("
    )
    assert unsaid.error.endswith(f"--origin qupath or --origin slide. Picture: {picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "tiles.zarr.imports" / "bounded.json").read_text("utf-8"))
    assert (report["frame"], report["frames"]["qupath"]) == (None, {"inside": 1.0, "on_tissue": 1.0})
    tile(store, [Entry(bounded_slide, rois, origin="qupath")], SETTINGS)
    opened = TileStore.open(store)
    assert (opened.table().x0.tolist(), opened.table().y0.tolist()) == ([512], [256])
    assert np.array_equal(opened.images("bounded")[0], coordinate_image(1024, 768)[256:320, 512:576])


def test_annotations_of_asap_count_from_the_corner_of_the_scan(bounded_slide: Path, tmp_path: Path) -> None:
    corners = [(320, 192), (384, 192), (384, 256), (320, 256)]
    points = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(corners))
    xml = (
        '<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="Tumor"><Coordinates>'
        f"{points}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    (tmp_path / "r.xml").write_text(xml)
    (outcome,) = tile(tmp_path / "tiles.zarr", [Entry(bounded_slide, tmp_path / "r.xml")], SETTINGS)
    assert outcome.error == ""
    table = TileStore.open(tmp_path / "tiles.zarr").table()
    assert (table.x0.tolist(), table.y0.tolist()) == ([320], [192])


def test_a_repair_is_counted_told_and_refused_when_strict(entries: list[Entry], tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [128, 128], [128, 0], [0, 128], [0, 0]]]}
    feature = {"type": "Feature", "id": "bow", "geometry": bow, "properties": {"classification": {"name": "Tumor"}}}
    entries[0].rois.write_text(json.dumps(feature))
    (mended,) = tile(tmp_path / "tiles.zarr", entries[:1], SETTINGS)
    assert (mended.status, mended.repaired_objects) == ("tiled", 1)
    report = json.loads((tmp_path / "tiles.zarr.imports" / "a.json").read_text("utf-8"))
    reason = "self-intersection repaired, area 0 to 8192 px, more than 1 %"
    assert report["objects"] == [
        {
            "index": 0,
            "id": "bow",
            "status": "repaired",
            "use": "label",
            "reason": reason,
            "px_before": 0.0,
            "px": 8192.0,
            "class": "Tumor",
        }
    ]
    (strict,) = tile(tmp_path / "other.zarr", entries[:1], SETTINGS.model_copy(update={"strict": True}))
    assert strict.error == (
        f"{entries[0].rois}: 1 object(s) had to be repaired (object 0 (bow, Tumor): {reason}). "
        "Mend them (see w2wpath check-geojson), or leave --strict out."
    )


def test_a_slide_without_mpp_fails_unless_the_entry_says_it(entries: list[Entry], tmp_path: Path) -> None:
    slide, rois = save_svs(tmp_path / "c.svs", IMAGE, mpp=None), entries[0].rois
    without, given, wrong = (
        tile(tmp_path / "tiles.zarr", [Entry(slide, rois, slide_mpp=mpp)], SETTINGS)[0] for mpp in (None, 0.5, 0.0)
    )
    assert without.error == f"{slide}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
    assert given.status == "tiled"
    assert wrong.error == f"{slide}: slide_mpp is 0. Give um per pixel, like 0.25."


def test_a_store_of_other_settings_is_refused_before_any_slide(entries: list[Entry], tmp_path: Path) -> None:
    tile(tmp_path / "tiles.zarr", entries[:1], SETTINGS)
    with pytest.raises(StoreError) as caught:
        tile(tmp_path / "tiles.zarr", entries, TileSettings(tile_px=32, mpp=1.0))
    assert str(caught.value) == (
        f"{tmp_path / 'tiles.zarr'}: holds tiles of 64 px at 0.5 um/px with step 64 (lanczos3); asked for 32 px at "
        "1 um/px with step 32 (lanczos3). Use the same settings, or another store with -o."
    )


def test_what_ran_is_written_beside_the_store(entries: list[Entry], bad: Entry, tmp_path: Path) -> None:
    tile(tmp_path / "tiles.zarr", [entries[0], bad], SETTINGS)
    (line,) = (tmp_path / "tiles.zarr.provenance.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert (found["command"], found["settings"]["tile_px"]) == ("tile", 64)
    assert found["inputs"][0] == {"slide": str(entries[0].slide), "rois": str(entries[0].rois)}
    assert found["outcomes"] == {"a": "tiled", "bad": BAD.format(bad.slide)}


def test_a_slide_that_kills_its_workers_fails_in_words_and_the_others_go_on(
    entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("w2wpath.tiles.cohort.tile_slide", tile_or_die)
    deadly = Entry(entries[0].slide, tmp_path / "deadly.geojson", "P1")
    outcomes = tile(tmp_path / "tiles.zarr", [deadly, entries[1]], SETTINGS, workers=2)
    assert outcomes[0].error == (
        f"{deadly.slide}: every worker process that took it died (out of memory?). "
        "Run the same command again with fewer --workers."
    )
    assert (outcomes[0].status, outcomes[1].status in ("tiled", "unchanged")) == ("failed", True)


def cohort(folder: Path, text: str | bytes) -> Path:
    path = folder / "cohort.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CohortError) as caught:
        read_cohort(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_cohort_is_read_relative_to_its_table(tmp_path: Path) -> None:
    path = cohort(
        tmp_path, "slide,rois,patient,slide_mpp,origin\ns/a.svs, r/a.json ,P1,0.25,qupath\n/b.svs,b.json,,,\n"
    )
    assert read_cohort(path) == [
        Entry(tmp_path / "s/a.svs", tmp_path / "r/a.json", "P1", 0.25, "qupath"),
        Entry(Path("/b.svs"), tmp_path / "b.json"),
    ]


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = cohort(tmp_path, b'\xef\xbb\xbfslide,rois\r\n"a, 1.svs",a.json\r\n')
    assert read_cohort(path) == [Entry(tmp_path / "a, 1.svs", tmp_path / "a.json")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no slide. Give one row per slide below the header slide, rois, patient."),
        ("slide,rois\n", "holds no slide. Give one row per slide below the header slide, rois, patient."),
        ("slide,patient\na,b\n", "column 'rois' is missing. Give columns slide, rois, patient."),
        (
            "slide,roi\na,b\n",
            "column must be one of slide, rois, patient, slide_mpp, origin, cores; got 'roi'. Did you mean 'rois'?",
        ),
        (
            "slide;rois\na;b\n",
            "column must be one of slide, rois, patient, slide_mpp, origin, cores; got 'slide;rois'. "
            "Did you mean 'slide'?",
        ),
        ("slide,rois\na,r\n ,r\n", "line 3: slide is empty. Give the file, relative to the table."),
        ("slide,rois\na\n", "line 2: rois is empty. Give the file, relative to the table."),
        ("slide,rois\na,r\nb,r,P1\n", "line 3: has more cells than the header. Quote names that hold a comma."),
        (
            "slide,rois,slide_mpp\na,r,40x\n",
            "line 2: slide_mpp is '40x'. Give um per pixel, like 0.25, or leave it empty.",
        ),
        (
            "slide,rois,slide_mpp\na,r,nan\n",
            "line 2: slide_mpp is 'nan'. Give um per pixel, like 0.25, or leave it empty.",
        ),
        (
            "slide,rois,origin\na,r,left\n",
            "line 2: origin must be one of auto, qupath, slide, qupath-rot90, qupath-rot180, qupath-rot270; "
            "got 'left'.",
        ),
        ('slide,rois\n"a,r\n', "not a readable CSV (unexpected end of data). Save it as UTF-8, comma separated."),
    ],
)
def test_a_wrong_table_says_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(cohort(tmp_path, text)) == message


def test_two_slides_of_one_name_are_refused(tmp_path: Path) -> None:
    path = cohort(tmp_path, "slide,rois\nx/a.svs,r\ny/a.tiff,r\n")
    assert refusal(path) == (
        f"{tmp_path / 'x/a.svs'} and {tmp_path / 'y/a.tiff'} share the name 'a'. "
        "Rename one of them: the file stem names the slide in the store."
    )


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.csv") == "no such cohort table. Give a CSV with columns slide, rois, patient."


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    assert refusal(cohort(tmp_path, b"slide,rois\nM\xfcller.svs,r\n")) == (
        "not a readable CSV ('utf-8' codec can't decode byte 0xfc in position 12: invalid start byte). "
        "Save it as UTF-8, comma separated."
    )


# what may be asked for ----------------------------------------------------------------------------------------------


def test_more_columns_are_measured_where_they_are_asked_for(tmp_path: Path) -> None:
    image = np.full((128, 256, 3), 245, dtype=np.uint8)
    image[:, 128:] = np.where(np.indices((128, 128)).sum(axis=0)[..., None] % 2, (200, 90, 160), (120, 40, 90))
    slide = save_svs(tmp_path / "a.svs", image)
    rois = write_geojson(tmp_path / "a.geojson", [("Tumor", box(0, 0, 256, 128))])
    wanted = SETTINGS.model_copy(update={"extra": ("tissue", "sharpness"), "tile_px": 64})
    tile(tmp_path / "tiles.zarr", [Entry(slide, rois, "P1")], wanted)
    columns = TileStore.open(tmp_path / "tiles.zarr").read("a").columns
    right = columns["x0"] >= 128
    assert columns["tissue_share"][right].min() > 0.9 > 0.1 > columns["tissue_share"][columns["x0"] == 0].max()
    assert columns["sharpness"][right].min() > 1000
    assert columns["sharpness"][~right].max() == 0
    (again,) = tile(tmp_path / "tiles.zarr", [Entry(slide, rois, "P1")], wanted)
    assert again.status == "unchanged"
    (relabelled,) = tile(tmp_path / "tiles.zarr", [Entry(slide, rois, "P2")], wanted)
    kept = TileStore.open(tmp_path / "tiles.zarr").read("a").columns
    assert relabelled.status == "relabelled"
    assert np.array_equal(kept["sharpness"], columns["sharpness"])
    (without,) = tile(tmp_path / "tiles.zarr", [Entry(slide, rois, "P2")], SETTINGS)
    assert without.status == "tiled"
    assert "sharpness" not in TileStore.open(tmp_path / "tiles.zarr").read("a").columns


def test_tiles_that_stay_get_new_labels_without_new_pixels(entries: list[Entry], tmp_path: Path) -> None:
    tile(tmp_path / "tiles.zarr", entries[:1], SETTINGS)
    shards = sorted((tmp_path / "tiles.zarr/slides/a/images/c").rglob("0"))
    inodes = [path.stat().st_ino for path in shards if path.is_file()]
    (outcome,) = tile(tmp_path / "tiles.zarr", [replace(entries[0], patient="other")], SETTINGS)
    assert outcome.status == "relabelled"
    assert [path.stat().st_ino for path in shards if path.is_file()] == inodes
    (overwritten,) = tile(tmp_path / "tiles.zarr", [replace(entries[0], patient="other")], SETTINGS, overwrite=True)
    assert overwritten.status == "tiled"
    assert [path.stat().st_ino for path in shards if path.is_file()] != inodes


def test_pictures_of_slides_and_classes_lie_beside_the_store(entries: list[Entry], tmp_path: Path) -> None:
    tile(tmp_path / "tiles.zarr", entries[:1], SETTINGS)
    made = {path.name for path in (tmp_path / "tiles.zarr.imports").iterdir()}
    assert made == {"a.json", "a.alignment.png", "a.preview.png", "Stroma.tiles.png", "Tumor.tiles.png"}
    tile(tmp_path / "bare.zarr", entries[:1], SETTINGS, previews=False)
    assert {path.name for path in (tmp_path / "bare.zarr.imports").iterdir()} == {"a.json", "a.alignment.png"}


def test_a_damaged_slide_of_the_store_costs_others_only_the_sheets(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    tile(store, entries[:1], SETTINGS)
    (store / "slides" / "a" / "x0" / "zarr.json").unlink()
    said: list[str] = []
    progress = Silent()
    progress.say = said.append
    (outcome,) = tile(store, entries[1:], SETTINGS, progress=progress)
    assert outcome.status == "tiled"
    assert [line.partition(" (")[0] for line in said] == [
        f"warning: no sheets of tiles were drawn. {store}: the tiles of slide 'a' cannot be read"
    ]


@pytest.mark.parametrize("mpp", [0.019, 20.1, 352.8])
def test_a_scale_that_no_microscope_has_is_refused(entries: list[Entry], tmp_path: Path, mpp: float) -> None:
    (outcome,) = tile(tmp_path / "tiles.zarr", [replace(entries[0], slide_mpp=mpp)], SETTINGS)
    assert outcome.error == (
        f"{entries[0].slide}: {mpp:g} um/px (flag) is no microscope's. "
        "Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
    )


def test_patients_are_found_in_names_or_in_a_table_of_cores(entries: list[Entry], tmp_path: Path) -> None:
    unnamed = [replace(entry, patient=None) for entry in entries]
    tile(tmp_path / "tiles.zarr", unnamed, SETTINGS, patient_from="^(.)")
    assert TileStore.open(tmp_path / "tiles.zarr").table().patients == ("a", "b")
    with pytest.raises(ConfigError) as caught:
        tile(tmp_path / "other.zarr", unnamed, SETTINGS, patient_from="P[0-9]+")
    assert str(caught.value) == (
        "--patient-from: 'P[0-9]+' finds no patient in the slide name 'a'. "
        "Mend the pattern, or give this slide's patient with --patient or the cohort's column."
    )
    (tmp_path / "cores.csv").write_text("slide,core,patient\nc,A-1,P1\n")
    with pytest.raises(CohortError) as refused:
        tile(tmp_path / "other.zarr", unnamed, SETTINGS, cores=tmp_path / "cores.csv")
    assert str(refused.value) == (
        f"{tmp_path / 'cores.csv'}: slide 'c' is not one of the 2 slide(s) there are. "
        "Slides are named by their file stem."
    )


def test_cores_give_each_tile_its_patient(entries: list[Entry], tmp_path: Path) -> None:
    document = json.loads(entries[0].rois.read_text())
    for name, place in {"A-1": box(0, 0, 192, 512), "A-2": box(192, 0, 640, 512)}.items():
        core = feature(None, place, objectType="tmaCore", name=name)
        document["features"].append(core)
    entries[0].rois.write_text(json.dumps(document))
    (tmp_path / "cores.csv").write_text("slide,core,patient\na,A-1,P1\na,A-2,P2\n")
    entry = replace(entries[0], patient=None, cores=tmp_path / "cores.csv")
    (outcome,) = tile(tmp_path / "tiles.zarr", [entry], SETTINGS)
    table = TileStore.open(tmp_path / "tiles.zarr").table()
    assert (outcome.error, outcome.patient_guessed, table.patients) == ("", False, ("P1", "P2"))
    assert np.array_equal(table.patient, (table.x0 + 32 >= 192).astype(int))


def test_a_part_of_a_cohort_is_every_nth_slide() -> None:
    entries = [Entry(Path(f"{name}.svs"), Path("r.geojson")) for name in "abcde"]
    parts = [[entry.name for entry in shard(entries, f"{i}/3")] for i in (1, 2, 3)]
    assert parts == [["a", "d"], ["b", "e"], ["c"]]


@pytest.mark.parametrize("part", ["0/3", "4/3", "x", "1", "-1/3", "1/0"])
def test_a_wrong_part_is_refused(part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shard([], part)
    assert str(caught.value) == f"--shard must be i/N with i from 1 to N, like 3/8; got {part!r}."


# relabel and patients -----------------------------------------------------------------------------------------------


def test_relabel_changes_labels_and_no_pixel(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    for entry in entries:
        write_geojson(entry.rois, [("Tumor", box(0, 0, 150, 128)), ("Stroma", box(150, 0, 384, 128))])
    tile(store, entries, SETTINGS)
    images = {name: TileStore.open(store).images(name) for name in "ab"}
    changed = relabel(store, {"policy": "majority", "label_share": 0.2})
    assert [outcome.status for outcome in changed] == ["relabelled", "relabelled"]
    assert all(np.array_equal(TileStore.open(store).images(name), images[name]) for name in "ab")
    assert [outcome.status for outcome in relabel(store, {})] == ["unchanged", "unchanged"]
    fresh = tmp_path / "fresh.zarr"
    tile(fresh, entries, SETTINGS.model_copy(update={"policy": "majority", "label_share": 0.2}))
    assert TileStore.open(store).content_hash() == TileStore.open(fresh).content_hash()


def test_relabel_takes_edited_annotations_of_one_slide(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    tile(store, entries, SETTINGS)
    edited = write_geojson(tmp_path / "new.geojson", [("Necrosis", box(64, 0, 384, 128))])
    (outcome,) = relabel(store, {}, {"a": edited})
    assert (outcome.status, dict(outcome.by_class)) == ("relabelled", {"Necrosis": 10})
    with pytest.raises(CohortError) as caught:
        relabel(store, {}, {"z": edited})
    assert str(caught.value) == (
        f"{store}: slide 'z' is not one of the 2 slide(s) there are. Slides are named by their file stem."
    )


def test_patients_change_afterwards(entries: list[Entry], tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    tile(store, entries, SETTINGS)
    (outcome,) = assign_patients(store, {("b", None): "patient a"}, "map.csv")
    assert (outcome.slide, outcome.status) == ("b", "relabelled")
    assert TileStore.open(store).table().patients == ("patient a",)


# dry run ------------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_tiling_gives(entries: list[Entry], bad: Entry, tmp_path: Path) -> None:
    found = estimates([*entries, bad], SETTINGS)
    done = tile(tmp_path / "tiles.zarr", entries, SETTINGS)
    assert [(one.slide, one.tiles, one.by_class, one.border) for one in found[:2]] == [
        (outcome.slide, outcome.tiles, outcome.by_class, outcome.border) for outcome in done
    ]
    assert found[2].error == BAD.format(bad.slide)
    assert all(one.seconds > 0 for one in found[:2])
    folder = tmp_path / "tiles.zarr/slides/a/images/c"
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    index = (16 * SHARD_TILES + 4) / 1e6  # of the one shard
    assert dict(found[0].mb)["zstd"] == pytest.approx(stored - index, rel=0.05)
    assert set(dict(found[0].mb)) == {"zstd", "jpeg"}
