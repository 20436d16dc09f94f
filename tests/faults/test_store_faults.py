"""What kills, full disks and damaged bytes do to a store: the old slide or the new one, never a part of either."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from tests.conftest import (
    ROOT,
    file_bytes,
    file_size_limit,
    noise_image,
    run_python,
    save_svs,
    speck_of_noise,
    write_geojson,
)
from tests.tiles.made import SPEC, empty_store, given, made_pixels, made_tiles, relabelled
from w2wpath.config import TileSettings
from w2wpath.errors import DiskError, StoreError
from w2wpath.tiles.codecs import CODECS, Codec
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import Entry
from w2wpath.tiles.store import COLUMNS, TileStore

N = 5
SETTINGS = TileSettings(tile_px=64)


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    """A store with slide ``a`` of five tiles made from seed 0."""
    made = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    made.add("a", made_tiles(N), made_pixels(N))
    return made


def seed_of(store: TileStore, slide: str) -> int:
    """Which of two seeds the whole slide is made from; every column and pixel must agree."""
    found, pixels = store.read(slide), store.images(slide)
    seed = int(found.columns["y0"][0])
    expected = made_tiles(N, seed)
    assert found.attributes == expected.attributes
    assert all(np.array_equal(found.columns[name], expected.columns[name]) for name in expected.columns)
    assert np.array_equal(pixels, made_pixels(N, seed))
    return seed


KILL_AT_MANY_STEPS = """
import os, shutil, signal, sys
from pathlib import Path
from tests.tiles.made import given, made_pixels, made_tiles, relabelled
from w2wpath.tiles.store import TileStore

template, home, slide, tiles = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
relabel = sys.argv[5:] == ["relabel"]
STEPS = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree"}


def counted(place, die_at):
    count = [0]

    def hook(event, args):
        if event in STEPS and str(place) in " ".join(str(arg) for arg in args):
            if count[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    sys.addaudithook(hook)
    return count


def run(step):
    # adds the slide to a copy of the store, in a process that dies at this step
    place = home / f"{step:03d}"
    shutil.copytree(template, place / "tiles.zarr")
    if os.fork() == 0:
        count = counted(place, step)
        store = TileStore.open(place / "tiles.zarr")
        if relabel:
            store.replace_labels(slide, relabelled(made_tiles(tiles)))
        else:
            store.add(slide, made_tiles(tiles, 1), given(store.spec.codec, made_pixels(tiles, 1)))
        (home / "steps").write_text(str(count[0]))
        os._exit(0)
    os.wait()
    return int((home / "steps").read_text())


home.mkdir()
steps = run(999)
for step in [*range(0, steps - 12, 8), *range(steps - 12, steps)]:
    run(step)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize(("slide", "before"), [("a", 0), ("b", None)], ids=["replace", "add"])
def test_a_run_killed_at_any_step_leaves_the_old_slide_or_the_new_one(
    store: TileStore, tmp_path: Path, slide: str, before: int | None
) -> None:
    ran = run_python(KILL_AT_MANY_STEPS, store.path, tmp_path / "killed", slide, N)
    assert (ran.returncode, ran.stderr) == (0, "")
    *killed, survivor = sorted(place for place in (tmp_path / "killed").iterdir() if place.is_dir())
    seen = []
    for place in killed:
        opened = TileStore.open(place / "tiles.zarr")
        seen.append(seed_of(opened, slide) if slide in opened.slides() else None)
        if slide != "a":
            assert seed_of(opened, "a") == 0
    assert len(killed) > 20
    assert set(seen) == {before, 1}
    first_new = seen.index(1)
    assert seen == [before] * first_new + [1] * (len(seen) - first_new)
    assert seed_of(TileStore.open(survivor / "tiles.zarr"), slide) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_new_labels_killed_at_any_step_leave_the_old_ones_or_the_new(tmp_path: Path) -> None:
    store = empty_store(tmp_path / "tiles.zarr", "jpeg")
    store.add("a", made_tiles(N), made_pixels(N))
    pixels = store.images("a")
    ran = run_python(KILL_AT_MANY_STEPS, store.path, tmp_path / "killed", "a", N, "relabel")
    assert (ran.returncode, ran.stderr) == (0, "")
    places = sorted(place for place in (tmp_path / "killed").iterdir() if place.is_dir())
    seen = []
    for place in places:
        opened = TileStore.open(place / "tiles.zarr")
        found = opened.read("a")
        seen.append(found.attributes["labels_hash"])
        assert (found.columns["label"] == 1).all() == (seen[-1] == "new labels")
        assert np.array_equal(opened.images("a"), pixels)
    assert len(places) > 20
    first_new = seen.index("new labels")
    assert seen == ["labels 0"] * first_new + ["new labels"] * (len(seen) - first_new)


KILL_AT_RANDOM_MOMENTS = """
import os, random, signal, sys, time
from pathlib import Path
from tests.tiles.made import given, made_pixels, made_tiles
from w2wpath.tiles.store import TileStore

store, rounds = TileStore.open(sys.argv[1]), int(sys.argv[2])
ways = {seed: (made_tiles(700, seed), given(store.spec.codec, made_pixels(700, seed))) for seed in (0, 1)}
store.add("a", *ways[0])
began = time.monotonic()
store.add("a", *ways[0])
takes = time.monotonic() - began
random.seed(0)
for _ in range(rounds):
    child = os.fork()
    if child == 0:
        while True:
            for seed in (1, 0):
                store.add("a", *ways[seed])
    time.sleep(random.random() * 2 * takes)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    opened = TileStore.open(store.path)
    found, pixels = opened.read("a"), opened.images("a")
    seed = int(found.columns["y0"][0])
    assert found.attributes == ways[seed][0].attributes
    assert all((found.columns[name] == ways[seed][0].columns[name]).all() for name in found.columns)
    if store.spec.codec == "zstd":
        assert (pixels == made_pixels(700, seed)).all()
    print(seed)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
def test_a_run_killed_at_any_moment_leaves_a_whole_slide(tmp_path: Path, codec: Codec) -> None:
    store = empty_store(tmp_path / "tiles.zarr", codec)
    ran = run_python(KILL_AT_RANDOM_MOMENTS, store.path, 10)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.split()) == 10


def test_a_slide_moved_aside_by_a_killed_run_is_brought_back(store: TileStore) -> None:
    before = file_bytes(store.path)
    store.scratch.mkdir()
    (store.path / "slides" / "a").rename(store.scratch / f"a.replaced-{'0' * 32}")
    assert file_bytes(TileStore.open(store.path).path) == before


def test_an_old_slide_that_a_killed_run_had_replaced_is_dropped(store: TileStore) -> None:
    shutil.copytree(store.path / "slides" / "a", store.scratch / f"a.replaced-{'0' * 32}")
    before = file_bytes(store.path)
    TileStore.open(store.path)
    assert file_bytes(store.path) == before
    assert not any(store.scratch.iterdir())


def test_half_a_slide_is_never_taken_for_one_that_was_moved_aside(store: TileStore) -> None:
    half = store.scratch / f"c.replaced-d-{'0' * 32}"
    half.mkdir(parents=True)
    assert TileStore.open(store.path).slides() == ["a"]
    assert half.is_dir()


def test_tiling_killed_in_the_middle_runs_through_when_it_runs_again(tmp_path: Path) -> None:
    slide = save_svs(tmp_path / "a.svs", noise_image(640, 512))
    entry = Entry(slide, write_geojson(tmp_path / "a.geojson", [("Tumor", box(0, 0, 640, 512))]), "P1")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom w2wpath.config import TileSettings\n"
        "from w2wpath.tiles import cohort\n"
        "def stop(event, args):\n"
        "    if event == 'open' and str(args[0]).endswith('images/zarr.json'): os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(stop)\n"
        "store, slide, rois = map(Path, sys.argv[1:])\n"
        "cohort.tile(store, [cohort.Entry(slide, rois, 'P1')], TileSettings(tile_px=64))\n"
    )
    assert run_python(code, tmp_path / "tiles.zarr", slide, entry.rois).returncode == -signal.SIGKILL
    assert TileStore.open(tmp_path / "tiles.zarr").slides() == []
    (outcome,) = tile(tmp_path / "tiles.zarr", [entry], SETTINGS)
    tile(tmp_path / "fresh.zarr", [entry], SETTINGS)
    assert outcome.status == "tiled"
    assert file_bytes(tmp_path / "tiles.zarr") == file_bytes(tmp_path / "fresh.zarr")


BETWEEN_THE_RENAMES = """
import errno, shutil, sys
from pathlib import Path
from tests.tiles.made import made_pixels, made_tiles
from w2wpath.errors import DiskError
from w2wpath.tiles.store import TileStore

store, what = TileStore.open(sys.argv[1]), sys.argv[2]
pending = [what]


def hook(event, args):
    # the old slide is aside, the new one not yet in its place: now something happens, once
    if event == "os.rename" and Path(args[1]).parent.name == "slides" and pending:
        pending.clear()
        if what == "opened":
            TileStore.open(store.path)
        elif what == "published":
            shutil.copytree(args[0], args[1])
        elif what == "full":
            raise OSError(errno.ENOSPC, "No space left on device")


sys.addaudithook(hook)
try:
    store.add("a", made_tiles(5, 1), made_pixels(5, 1))
except DiskError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["opened", "published"])
def test_a_replacement_survives_what_happens_between_its_two_renames(store: TileStore, what: str) -> None:
    ran = run_python(BETWEEN_THE_RENAMES, store.path, what)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert seed_of(TileStore.open(store.path), "a") == 1
    assert not store.scratch.exists()


def test_a_replacement_without_room_for_its_last_rename_puts_the_old_slide_back(store: TileStore) -> None:
    ran = run_python(BETWEEN_THE_RENAMES, store.path, "full")
    assert ran.stdout == (
        f"{store.path}: could not be written, the disk is full. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again.\n"
    )
    assert not store.scratch.exists()
    assert seed_of(store, "a") == 0


OPEN_AGAIN_AND_AGAIN = """
import sys
from w2wpath.tiles.store import TileStore
print("ready", flush=True)
while True:
    TileStore.open(sys.argv[1])
"""


@pytest.fixture
def reader_of(store: TileStore) -> Iterator[Path]:
    """Another process that opens the store as often as it can."""
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_AGAIN_AND_AGAIN, str(store.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            yield store.path
            assert other.poll() is None, "the reader fell"
        finally:
            other.kill()


def test_whoever_opens_the_store_meanwhile_neither_fails_nor_undoes_a_replacement(
    store: TileStore, reader_of: Path
) -> None:
    for round_ in range(20):
        store.add("a", made_tiles(N, round_ % 2), made_pixels(N, round_ % 2))
        assert seed_of(store, "a") == round_ % 2
    assert reader_of == store.path


WRITE_AGAIN_AND_AGAIN = """
import sys
from tests.tiles.made import made_pixels, made_tiles
from w2wpath.tiles.store import TileStore
store, slide, seed = TileStore.open(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for _ in range(15):
    store.add(slide, made_tiles(5, seed), made_pixels(5, seed))
"""


@pytest.mark.parametrize("slides", ["aa", "ab"], ids=["the same slide", "two slides"])
def test_two_processes_that_write_at_once_leave_whole_slides(store: TileStore, slides: str) -> None:
    begun = [
        subprocess.Popen([sys.executable, "-c", WRITE_AGAIN_AND_AGAIN, str(store.path), slide, str(seed)], cwd=ROOT)
        for seed, slide in enumerate(slides, start=1)
    ]
    assert [process.wait(timeout=60) for process in begun] == [0, 0]
    opened = TileStore.open(store.path)
    assert opened.slides() == sorted(set(slides))
    seeds = {slide: seed_of(opened, slide) for slide in opened.slides()}
    assert seeds == {"a": 1, "b": 2} if slides == "ab" else seeds["a"] in (1, 2)
    assert not store.scratch.exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
from w2wpath.config import TileSettings
from w2wpath.errors import DiskError
from w2wpath.tiles import cohort
if __name__ == "__main__":
    store, limit, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    entries = [cohort.Entry(Path(path), Path(sys.argv[4]), "P1") for path in sys.argv[5:]]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        cohort.tile(store, entries, TileSettings(tile_px=64), workers=workers)
    except DiskError as error:
        print(error)
"""
NO_ROOM = (
    "{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
    "make room (or choose another place with -o) and run the same command again.\n"
)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file-size limit")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_leaves_the_old_slide_and_no_scratch(tmp_path: Path, workers: int) -> None:
    rois = write_geojson(tmp_path / "r.geojson", [("Tumor", box(0, 0, 384, 384))])
    slides = [save_svs(tmp_path / f"{name}.svs", speck_of_noise(seed)) for seed, name in enumerate("ab")]
    store = tmp_path / "tiles.zarr"
    tile(store, [Entry(slides[0], rois, "P1")], SETTINGS)
    before, beside = file_bytes(store), sorted(tmp_path.iterdir())
    save_svs(slides[0], speck_of_noise(7))
    ran = run_python(FULL_DISK, store, 300_000, workers, rois, *slides)
    assert (ran.stdout, ran.returncode) == (NO_ROOM.format(path=store), 0)
    assert file_bytes(store) == before
    assert sorted(tmp_path.iterdir()) == beside


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file-size limit")
def test_a_disk_too_full_for_a_store_leaves_none(tmp_path: Path) -> None:
    ran = run_python(FULL_DISK, tmp_path / "new" / "tiles.zarr", 10, 1, "r.geojson", "a.svs")
    assert ran.stdout == NO_ROOM.format(path=tmp_path / "new" / "tiles.zarr")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file-size limit")
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("limit", [100, 2_000, 30_000])
def test_a_disk_that_fills_up_while_a_slide_is_written_leaves_the_store(
    tmp_path: Path, codec: Codec, limit: int
) -> None:
    store = empty_store(tmp_path / "tiles.zarr", codec)
    store.add("a", made_tiles(N), given(codec, made_pixels(N)))
    before, pixels = file_bytes(store.path), given(codec, made_pixels(600, 1))
    for slide in "ab":
        with file_size_limit(limit), pytest.raises(DiskError) as caught:
            store.add(slide, made_tiles(600, 1), pixels)
        assert f"{caught.value}\n" == NO_ROOM.format(path=store.path)
        assert file_bytes(store.path) == before
        assert sorted(tmp_path.iterdir()) == [store.path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file-size limit")
def test_a_disk_too_full_for_new_labels_leaves_the_old_ones(store: TileStore) -> None:
    before = file_bytes(store.path)
    with file_size_limit(100), pytest.raises(DiskError) as caught:
        store.replace_labels("a", relabelled(made_tiles(N)))
    assert f"{caught.value}\n" == NO_ROOM.format(path=store.path)
    assert file_bytes(store.path) == before
    assert not store.scratch.exists()


REPLACED_WHILE_RELABELLED = """
import sys
from pathlib import Path
from tests.tiles.made import made_pixels, made_tiles, relabelled
from w2wpath.errors import StoreError
from w2wpath.tiles.store import TileStore

store, pending = TileStore.open(sys.argv[1]), [True]


def hook(event, args):
    if event == "os.link" and pending:
        pending.clear()
        store.add("a", made_tiles(5, 1), made_pixels(5, 1))


sys.addaudithook(hook)
try:
    store.replace_labels("a", relabelled(made_tiles(5)))
except StoreError as error:
    print(error)
"""


def test_labels_never_meet_the_pixels_of_a_slide_that_was_replaced_meanwhile(store: TileStore) -> None:
    ran = run_python(REPLACED_WHILE_RELABELLED, store.path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        f"{store.path}: slide 'a' was replaced by another run meanwhile. Run the same command again.\n"
    )
    assert seed_of(TileStore.open(store.path), "a") == 1
    assert not store.scratch.exists()


def everything(store: TileStore) -> dict[str, Any]:
    """All that can be read of slide ``a``."""
    found = store.read("a")
    return {"attributes": found.attributes, "pixels": store.images("a"), **found.columns}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
def test_damage_anywhere_in_any_file_of_a_slide_is_found_or_harmless(tmp_path: Path, codec: Codec, harm: str) -> None:
    store = empty_store(tmp_path / "tiles.zarr", codec)
    store.add("a", made_tiles(N), given(codec, made_pixels(N)))
    truth, random, missed = everything(store), np.random.default_rng(0), []
    damages: dict[str, Callable[[bytes, int], bytes]] = {
        "flip": lambda data, at: data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :],
        "cut": lambda data, at: data[:at],
    }
    for path in sorted(path for path in (store.path / "slides" / "a").rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for at in [0] if harm == "lose" else random.integers(0, len(whole), 6).tolist():
            path.unlink()
            if harm != "lose":
                path.write_bytes(damages[harm](whole, at))
            try:
                found = everything(store)
            except StoreError:
                continue
            finally:
                path.write_bytes(whole)
            assert found.keys() == truth.keys()
            assert all(np.array_equal(found[name], truth[name]) for name in ("pixels", *COLUMNS))
            assert found["attributes"] == truth["attributes"]
            missed.append(path)
    assert len(missed) <= 1  # a bit that zstd ignores, a space in a zarr.json
    assert harm == "flip" or missed == []


@pytest.mark.parametrize("text", ["8.5", "9", "1e9"])
def test_a_root_that_was_changed_is_found(store: TileStore, text: str) -> None:
    root = store.path / "zarr.json"
    root.write_text(root.read_text().replace('"mpp": 0.5', f'"mpp": {text}'))
    with pytest.raises(StoreError) as caught:
        TileStore.open(store.path)
    assert str(caught.value) == (
        f"{store.path}: its zarr.json is damaged. Bring it back from a copy, or tile again into another store."
    )


def shard(store: TileStore) -> Path:
    (found,) = (path for path in (store.path / "slides/a/images").rglob("*") if path.is_file() and path.suffix == "")
    return found


def unreadable(store: TileStore, call: Any) -> None:
    """`call` must fail with the message for a damaged slide."""
    with pytest.raises(StoreError) as caught:
        call()
    cause = caught.value.__cause__
    assert str(caught.value) == (
        f"{store.path}: the tiles of slide 'a' cannot be read ({type(cause).__name__}: {cause}). "
        f"Remove {store.path / 'slides' / 'a'} and tile this slide again; the others are not affected."
    )


@pytest.mark.parametrize("place", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_one_flipped_bit_in_a_shard_of_pixels_is_found(store: TileStore, place: float) -> None:
    path = shard(store)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x10
    path.write_bytes(content)
    unreadable(store, lambda: store.images("a"))


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_torn_shard_of_pixels_is_found(store: TileStore, keep: int) -> None:
    shard(store).write_bytes(shard(store).read_bytes()[:keep])
    unreadable(store, lambda: store.images("a"))


@pytest.mark.parametrize("name", ["images", "label", "patient", "area_share", "tile_id"])
def test_a_lost_file_is_not_read_as_zeros(store: TileStore, name: str) -> None:
    (lost,) = (path for path in (store.path / "slides/a" / name).rglob("*") if path.is_file() and path.suffix == "")
    lost.unlink()
    unreadable(store, lambda: store.read("a"))
    unreadable(store, store.table)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"zarr_format": 3, "node_type": "array"}'])
def test_a_damaged_head_of_a_slide_is_found(store: TileStore, text: str) -> None:
    (store.path / "slides/a/zarr.json").write_text(text)
    for call in (lambda: store.read("a"), lambda: store.attributes("a")):
        unreadable(store, call)


def test_the_cure_of_a_damaged_slide_cures_it(tmp_path: Path) -> None:
    rois = write_geojson(tmp_path / "r.geojson", [("Tumor", box(0, 0, 128, 64))])
    entries = [Entry(save_svs(tmp_path / f"{name}.svs", noise_image(640, 512)), rois, "P1") for name in "ab"]
    tile(tmp_path / "tiles.zarr", entries, SETTINGS)
    store = TileStore.open(tmp_path / "tiles.zarr")
    before = file_bytes(store.path)
    shard(store).write_bytes(b"damaged")
    unreadable(store, lambda: store.images("a"))
    assert store.images("b").shape == (2, 64, 64, 3)
    shutil.rmtree(store.path / "slides" / "a")
    assert [outcome.status for outcome in tile(store.path, entries, SETTINGS)] == ["tiled", "unchanged"]
    assert file_bytes(store.path) == before


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "tiles.zarr"
    home.mkdir()
    (home / "thesis.docx").write_text("years of work")
    with pytest.raises(StoreError) as caught:
        TileStore.create_or_open(home, SPEC)
    assert str(caught.value) == f"{home}: not a w2wpath tile store. Give another path, or move it away."
    assert file_bytes(home) == {"thesis.docx": b"years of work"}


def test_a_file_where_a_store_should_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiles.zarr"
    path.write_text("text")
    with pytest.raises(StoreError) as caught:
        TileStore.create_or_open(path, SPEC)
    assert str(caught.value) == f"{path}: not a w2wpath tile store. Give another path, or move it away."


def test_a_store_of_a_newer_w2wpath_is_refused_and_left_alone(store: TileStore) -> None:
    root = store.path / "zarr.json"
    about = json.loads(root.read_text())
    about["attributes"]["w2wpath"]["schema"] = 99
    root.write_text(json.dumps(about))
    before = file_bytes(store.path)
    with pytest.raises(StoreError) as caught:
        TileStore.create_or_open(store.path, SPEC)
    assert str(caught.value) == (
        f"{store.path}: has schema 99, but this w2wpath reads schema 1. "
        "Update w2wpath if the store is newer, or tile again into another store."
    )
    assert file_bytes(store.path) == before
