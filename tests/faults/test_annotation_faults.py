"""Bombs stop at the limit, and no damaged file does more than be refused in words or read with a full report."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from tests.conftest import run_python
from tests.qupath.test_dialects import CASES, CELL, CODES, PEERS, THIN, WRAPS, packed, region
from tests.qupath.test_geojson import reference
from w2wpath.config import ClassMap, ClassRule, RoiSettings
from w2wpath.errors import AnnotationError, W2wError
from w2wpath.qupath.geojson import children
from w2wpath.qupath.read import Rois, read_rois
from w2wpath.qupath.report import write_report

ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="a" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
<Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="10" Y="0"/><Coordinate Order="2" X="10" Y="10"/>
</Coordinates></Annotation>
<Annotation Name="b" Type="Dot" PartOfGroup="None"><Coordinates><Coordinate Order="0" X="1,5" Y="2"/></Coordinates>
</Annotation></Annotations><AnnotationGroups/></ASAP_Annotations>"""
IMAGESCOPE = """<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="" LineColor="65280"><Attributes>
<Attribute Name="Description" Id="0" Value="Tumor"/></Attributes><Regions>
<Region Id="1" Type="0" NegativeROA="0" Text=""><Vertices>
<Vertex X="0" Y="0" Z="0"/><Vertex X="10" Y="0" Z="0"/><Vertex X="10" Y="10" Z="0"/></Vertices></Region>
<Region Id="2" Type="2" NegativeROA="1" Text=""><Vertices>
<Vertex X="6" Y="2" Z="0"/><Vertex X="8" Y="3" Z="0"/></Vertices></Region>
</Regions><Plots/></Annotation></Annotations>"""

MB = 1_000_000
LIMIT_MB = 20
BOMB_MB = 600


def deflated(block: bytes, wbits: int) -> bytes:
    """BOMB_MB of repetitions of a block of 1 MB, as one stream: after a full flush each block packs to the same."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (BOMB_MB - 1) + packer.flush(zlib.Z_FINISH)


def zip_of_one(block: bytes, says: int) -> bytes:
    """A zip of one packed entry that claims to hold `says` bytes."""
    stream = deflated(block, -15)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("r.geojson", stream)
    data = bytearray(file.getvalue())
    directory = data.rindex(b"PK\x01\x02")
    for method, size in ((8, 22), (directory + 10, directory + 24)):
        data[method : method + 2] = (8).to_bytes(2, "little")
        data[size : size + 4] = says.to_bytes(4, "little")
    return bytes(data)


SPACES = b" " * MB
BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip of zeros": lambda: deflated(bytes(MB), 31),
    "gzip of spaces": lambda: deflated(SPACES, 31),
    "gzip of many members": lambda: gzip.compress(SPACES) * BOMB_MB,
    "zip of one entry": lambda: zip_of_one(SPACES, BOMB_MB * MB),
    "zip of a gzip": lambda: packed({"r.geojson.gz": deflated(SPACES, 31)}),
    "zip of many entries": lambda: packed({f"{i}.json": b"[]" + SPACES * 9 for i in range(20)}),
}
READ = """
import resource, sys
from pathlib import Path
from w2wpath.config import RoiSettings
from w2wpath.errors import AnnotationError
from w2wpath.qupath.read import read_rois

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
before = peak()
try:
    read_rois(Path(sys.argv[1]), RoiSettings(max_mb=int(sys.argv[2])))
except AnnotationError as error:
    print(error)
print(peak() - before)
"""


def refused_within(path: Path) -> str:
    """Read a file in a fresh interpreter; return what was said, once the memory it took was seen to be small."""
    done = run_python(READ, path, LIMIT_MB)
    assert done.stderr == ""
    message, _, grown_mb = done.stdout.strip().rpartition("\n")
    assert float(grown_mb) < 3 * LIMIT_MB
    return message


def too_much(path: Path) -> str:
    return (
        f"{path}: holds more than {LIMIT_MB} MB. Export fewer objects (regions without detections), "
        "or allow more with --max-mb."
    )


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "bomb.geojson"
    path.write_bytes(BOMBS[bomb]())
    assert path.stat().st_size < 3 * MB
    assert refused_within(path) == too_much(path)


def test_a_zip_that_lies_about_its_size_gives_no_more_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(zip_of_one(SPACES, 5))
    assert refused_within(path) == f"{path}: cannot be read (Bad CRC-32 for file 'r.geojson'). Export it again."


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound_are_not_used(tmp_path: Path, method: int) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(packed({"r.geojson": SPACES * 100}, method))
    assert refused_within(path) == (
        f"{path}: cannot be read (r.geojson is packed by another method than deflate). Export it again."
    )


def test_a_large_file_is_not_read_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.geojson"
    with path.open("wb") as file:
        file.truncate(BOMB_MB * MB)
    assert refused_within(path) == too_much(path)


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda data: packed({"a.json": data[: MB // 2], "b.json": data[MB // 2 :]})]
)
def test_a_file_of_just_the_limit_is_read(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "full.geojson"
    half = b"[]" + b" " * (MB // 2 - 2)
    data = half + half if pack is not bytes and pack is not gzip.compress else b"[]" + b" " * (MB - 2)
    path.write_bytes(pack(data))
    assert read_rois(path, RoiSettings(max_mb=1)).report == ()
    path.write_bytes(pack(data + b" "))
    with pytest.raises(AnnotationError) as caught:
        read_rois(path, RoiSettings(max_mb=1))
    assert str(caught.value) == too_much(path).replace("20 MB", "1 MB")


TEXTS = [case.text for case in CASES.values()]
TEXTS += [text for text, _ in PEERS.values()] + [region(geometry) for geometry, _ in THIN.values()]
TEXTS += [wrap.format(region()) for wrap in WRAPS.values()] + [CELL]
PLAIN = [text.encode() for text in TEXTS] + [ASAP.encode(), IMAGESCOPE.encode(), ASAP.encode("utf-16")]
PACKED = [
    *CODES.values(),
    packed({"a.xml": ASAP.encode(), "b.geojson": TEXTS[0].encode()}),
    gzip.compress(IMAGESCOPE.encode()),
]

MAPPED = ClassMap(
    classes={"Tumor": ClassRule(aliases=("Tumor: Positive",), colour=(1, 2, 3)), "Stroma": ClassRule()},
    unlisted="skip",
    starred={"Region*": "scope"},
    unclassified="exclude",
)
SETTINGS = (
    RoiSettings(max_mb=1),
    RoiSettings(max_mb=1, point_radius_um=2.0, include=("annotation", "detection", "cell", "tile")),
    RoiSettings(max_mb=1, class_map=MAPPED),
    RoiSettings(max_mb=1, class_map=ClassMap(class_from="name", unclassified="scope")),
    RoiSettings(max_mb=1, class_map=ClassMap(classes={"Stroma": ClassRule()}, unclassified="error")),
)


def sound(rois: Rois, folder: Path) -> bool:
    """Check all that a reader of annotations promises; return whether there is any region."""
    areas = [
        *(roi.geometry for roi in rois.regions),
        *rois.ignored,
        *rois.scope,
        *(core.geometry for core in rois.cores),
    ]
    for area in areas:
        assert area.geom_type in ("Polygon", "MultiPolygon")
        assert area.is_valid
        assert area.area > 0
        assert np.isfinite(shapely.get_coordinates(area)).all()
    for name in (*(roi.class_name for roi in rois.regions), *(core.name for core in rois.cores)):
        assert name
        assert name.isprintable()
        assert name == name.strip()
    assert [line.index for line in rois.report] == list(range(len(rois.report)))
    assert all(line.parent is None or 0 <= line.parent < line.index for line in rois.report)
    assert all((line.status == "ignored") == (line.use is None) for line in rois.report)
    assert all(line.reason for line in rois.report if line.status != "kept")
    used = [line.index for line in rois.report if line.use == "label"]
    assert [roi.entry for roi in rois.regions] == used
    assert len(areas) == sum(line.use is not None for line in rois.report)
    said = [word for line in rois.report for word in (line.id, line.class_name or "", line.reason)]
    assert all(word.isprintable() for word in (*said, *rois.warnings))
    assert set(rois.colours) == set(rois.classes)
    write_report(folder / "report.json", "x", rois.report, rois.warnings, {})
    objects = json.loads((folder / "report.json").read_text("utf-8"))["objects"]
    assert objects == [line.as_dict() for line in rois.report]
    return bool(rois.regions)


def outcome(path: Path, data: bytes, settings: RoiSettings) -> tuple[str, int]:
    """What becomes of a file: refused, or read with or without regions; and the number of its objects."""
    path.write_bytes(data)
    try:
        rois = read_rois(path, settings, slide_mpp=0.5)
    except W2wError:
        return "refused", 0
    return ("regions" if sound(rois, path.parent) else "no regions"), len(rois.report)


def damaged(draw: np.random.Generator, data: bytes) -> bytes:
    """Flip, delete, double, move or insert some bytes, or cut the end off."""
    out = bytearray(data)
    for _ in range(draw.integers(1, 3)):
        at = int(draw.integers(0, len(out) + 1))
        end = min(len(out), at + int(draw.integers(1, 40)))
        match draw.integers(0, 6):
            case 0 if at < len(out):
                out[at] ^= 1 << int(draw.integers(0, 8))
            case 1:
                del out[at:end]
            case 2:
                out[at:at] = out[at:end]
            case 3:
                piece = bytes(out[at:end])
                del out[at:end]
                to = int(draw.integers(0, len(out) + 1))
                out[to:to] = piece
            case 4:
                out[at:at] = draw.choice(
                    [b"\x00", b"\xff", b'"', b"[", b"]", b"{", b"}", b",", b"-", b"e9", b"<", b"\\ud800"]
                )
            case _ if draw.random() < 0.3:
                del out[at:]
    return bytes(out)


def nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD: list[Any] = [float("nan"), 1e308, -1e308, 10**400, 2**31, 1e-300, None, "x", "", "\ud800", "5", -1, 0, True]
ODD += [[], {}, [[]], [[[]]], nest(80), nest(300), "Feature", "Polygon", "tmaCore", "Ignore*", {"name": "a\nb"}]
ODD += [[[[0, 0], [9, 9], [9, 0], [0, 9]]], {"type": "GeometryCollection", "geometries": [{}]}, [{"type": "Feature"}]]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place below `value`: the object or array, and the name or number."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    return found


def swapped(draw: np.random.Generator, text: str) -> str:
    """Put odd values for one to three values of a JSON text, or exchange two of its values."""
    top = [json.loads(text)]
    for _ in range(draw.integers(1, 4)):
        there = places(top)
        owner, key = there[draw.integers(0, len(there))]
        if draw.random() < 0.2:
            other, place = there[draw.integers(0, len(there))]
            owner[key] = json.loads(json.dumps(other[place]))
        else:
            owner[key] = json.loads(json.dumps(ODD[draw.integers(0, len(ODD))]))
    return json.dumps(top[0])


def objects_of(text: str) -> int:
    """How many objects a text holds, by a plain reading."""
    waiting, count = list(reference(text)), 0
    while waiting:
        waiting += children(waiting.pop())
        count += 1
    return count


@pytest.mark.parametrize("seed", range(4))
def test_files_with_odd_values_are_refused_or_read_to_the_last_object(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    seen = {"refused": 0, "regions": 0, "no regions": 0}
    for i in range(500):
        text = swapped(draw, TEXTS[draw.integers(0, len(TEXTS))])
        what, count = outcome(tmp_path / "r.geojson", text.encode(), SETTINGS[i % len(SETTINGS)])
        seen[what] += 1
        if what != "refused":
            assert count == objects_of(text)
    assert min(seen.values()) > 30  # the odd values reach every end


@pytest.mark.parametrize("corpus", [PLAIN, PACKED], ids=["plain", "packed"])
@pytest.mark.parametrize("seed", range(2))
def test_damaged_files_are_refused_or_read_soundly(tmp_path: Path, corpus: list[bytes], seed: int) -> None:
    draw = np.random.default_rng(seed)
    seen = {"refused": 0, "regions": 0, "no regions": 0}
    for i in range(700):
        data = damaged(draw, corpus[draw.integers(0, len(corpus))])
        seen[outcome(tmp_path / "r.geojson", data, SETTINGS[i % len(SETTINGS)])[0]] += 1
    assert min(seen.values()) > 5


@pytest.mark.parametrize("seed", range(2))
def test_damage_inside_a_whole_package_is_refused_or_read_soundly(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    seen = {"refused": 0, "regions": 0, "no regions": 0}
    for i in range(200):
        inside = damaged(draw, PLAIN[draw.integers(0, len(PLAIN))])
        data = gzip.compress(inside, 1) if i % 2 else packed({"a.geojson": inside})
        seen[outcome(tmp_path / "r.geojson", data, SETTINGS[i % len(SETTINGS)])[0]] += 1
    assert min(seen.values()) > 5


def test_the_corpus_itself_is_read(tmp_path: Path) -> None:
    ends = [outcome(tmp_path / "r.geojson", data, SETTINGS[0])[0] for data in (*PLAIN, *PACKED)]
    assert "refused" not in ends
    assert ends.count("regions") > 40
