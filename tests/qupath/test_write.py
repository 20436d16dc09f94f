"""Tiles and outlines for QuPath: what its importer accepts, whole or not at all, the same bytes for the same tiles."""

from __future__ import annotations

import gzip
import json
import math
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given
from hypothesis import strategies as st
from shapely import LineString, MultiPolygon, Point, Polygon, box
from shapely.geometry import shape

from tests.conftest import file_size_limit
from w2wpath.errors import AnnotationError, DiskError, NonFiniteScoreError
from w2wpath.qupath.write import (
    MANY_OBJECTS,
    Colour,
    RegionObject,
    TileObject,
    size_warning,
    write_regions,
    write_tiles,
)

RED: Colour = (200, 0, 0)
ID = uuid.UUID("6f1f7c0e-3f0c-5d1a-9a53-2b7c1f1f0a11")


def tile(i: int, **measurements: float) -> TileObject:
    object_id = uuid.uuid5(uuid.NAMESPACE_OID, str(i))
    return TileObject(object_id, 256 * i, 512, 256, "Tumor", (200, 0, 0), measurements or {"P(Tumor)": 0.123456})


def outline(area: Any, class_name: str = "Tumor", name: str | None = "w2w Tumor") -> RegionObject:
    return RegionObject(ID, class_name, RED, area, name)


def decoded(path: Path) -> dict[str, Any]:
    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("ascii")
    found: dict[str, Any] = json.loads(text, parse_constant=no_constants)
    return found


def written(folder: Path, *regions: RegionObject) -> list[dict[str, Any]]:
    path = folder / "a.regions.geojson"
    assert write_regions(path, regions, {}) == len(regions)
    features: list[dict[str, Any]] = decoded(path)["features"]
    return features


def test_a_tile_is_written_as_qupath_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson.gz"
    assert write_tiles(path, [tile(1)], {"frame": "qupath"}) == 1
    assert decoded(path) == {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": str(tile(1).object_id),
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[256, 512], [512, 512], [512, 768], [256, 768], [256, 512]]],
                },
                "properties": {
                    "objectType": "tile",
                    "classification": {"name": "Tumor", "color": [200, 0, 0]},
                    "measurements": {"P(Tumor)": 0.1235},
                },
            }
        ],
        "w2wpath": {"frame": "qupath"},
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_tiles_is_valid_json(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.geojson.gz"
    assert write_tiles(path, (tile(i) for i in range(count)), {}) == count
    assert [one["id"] for one in decoded(path)["features"]] == [str(tile(i).object_id) for i in range(count)]


def test_a_measurement_that_is_absent_stays_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson.gz"
    write_tiles(path, [tile(0, uncertainty=0.9)], {})
    assert decoded(path)["features"][0]["properties"]["measurements"] == {"uncertainty": 0.9}


def test_the_same_tiles_give_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    for name in ("a.geojson.gz", "b.geojson.gz"):
        write_tiles(tmp_path / name, [tile(0), tile(1)], {"model": "m"})
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_score_that_is_no_number_is_loud_and_the_old_file_stays(tmp_path: Path, value: float, text: str) -> None:
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(b"old")
    with pytest.raises(NonFiniteScoreError) as caught:
        write_tiles(path, [tile(0), tile(3, uncertainty=value)], {})
    assert str(caught.value) == f"tile at x=768, y=512: measurement 'uncertainty' is {text}, not a number."
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_source_of_tiles_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    def torn() -> Iterator[TileObject]:
        yield tile(0)
        raise RuntimeError("the network stopped")

    path = tmp_path / "a.geojson.gz"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match=r"^the network stopped$"):
        write_tiles(path, torn(), {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_room_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(b"old")
    with file_size_limit(1000), pytest.raises(DiskError) as caught:
        write_tiles(path, (tile(i) for i in range(2000)), {})
    assert str(caught.value) == (
        f"{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_ends_otherwise_is_not_gzipped(tmp_path: Path) -> None:
    write_tiles(tmp_path / "a.geojson.gz", [tile(0), tile(1)], {"model": "ä"})
    write_tiles(tmp_path / "a.geojson", [tile(0), tile(1)], {"model": "ä"})
    assert gzip.decompress((tmp_path / "a.geojson.gz").read_bytes()) == (tmp_path / "a.geojson").read_bytes()
    assert decoded(tmp_path / "a.geojson")["w2wpath"] == {"model": "ä"}


def test_batches_join_without_a_seam(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    assert write_tiles(path, (tile(i) for i in range(1025)), {}) == 1025
    assert [one["id"] for one in decoded(path)["features"]] == [str(tile(i).object_id) for i in range(1025)]
    assert len(path.read_bytes().splitlines()) == 1027


@pytest.mark.parametrize("corner", [0.5, math.nan])
def test_a_corner_between_pixels_is_never_written(tmp_path: Path, corner: float) -> None:
    with pytest.raises(ValueError, match=r"^Unknown format code 'd' for object of type 'float'$"):
        write_tiles(tmp_path / "a.geojson.gz", [replace(tile(0), x=corner)], {})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@given(
    x=st.integers(-(2**31), 2**31),
    value=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9), st.booleans()),
    name=st.text(max_size=8),
)
def test_any_tile_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, x: int, value: float, name: str
) -> None:
    path = tmp_path_factory.mktemp("tile") / "a.geojson.gz"
    write_tiles(path, [TileObject(ID, x, -x, 7, "Tumor", RED, {name: value, "w2w u": np.float32(0.25)})], {})
    (found,) = decoded(path)["features"]
    assert found["geometry"]["coordinates"] == [[[x, -x], [x + 7, -x], [x + 7, 7 - x], [x, 7 - x], [x, -x]]]
    assert {"w2w u": 0.25, name: round(float(value), 4)} == {"w2w u": 0.25, **found["properties"]["measurements"]}


# classes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Tumor", {"name": "Tumor"}),
        ("Uncertain*", {"name": "Uncertain*"}),
        ('a "b" \\ ä 组织', {"name": 'a "b" \\ ä 组织'}),
        ("Tumor: Positive", {"names": ["Tumor", "Positive"]}),
        ("Tumor:Immune: Positive", {"names": ["Tumor", "Immune", "Positive"]}),
    ],
)
def test_a_class_has_a_colour_and_a_derived_one_its_names(tmp_path: Path, name: str, said: dict[str, Any]) -> None:
    write_tiles(tmp_path / "a.geojson.gz", [replace(tile(0), class_name=name)], {})
    (one,) = decoded(tmp_path / "a.geojson.gz")["features"]
    (region,) = written(tmp_path, outline(box(0, 0, 9, 9), name))
    expected = {**said, "color": [200, 0, 0]}
    assert one["properties"]["classification"] == region["properties"]["classification"] == expected


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\rb", "Tumor:", ":", "Tumor: : Positive"])
def test_a_class_that_qupath_refuses_is_not_written(tmp_path: Path, name: str) -> None:
    message = (
        f"class {name!r} cannot be written for QuPath: a name must hold text in one line, and so must each part "
        "of a derived one (Tumor: Positive). Rename the class."
    )
    with pytest.raises(AnnotationError) as caught:
        write_tiles(tmp_path / "a.geojson.gz", [tile(0), replace(tile(1), class_name=name)], {})
    assert str(caught.value) == message
    with pytest.raises(AnnotationError) as caught:
        write_regions(tmp_path / "a.geojson", [outline(box(0, 0, 9, 9), name)], {})
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


# outlines -----------------------------------------------------------------------------------------------------------


def test_an_outline_is_written_as_qupath_reads_it(tmp_path: Path) -> None:
    assert written(tmp_path, outline(box(10, 20, 30.5, 40.257))) == [
        {
            "type": "Feature",
            "id": "6f1f7c0e-3f0c-5d1a-9a53-2b7c1f1f0a11",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[10, 20], [10, 40.26], [30.5, 40.26], [30.5, 20], [10, 20]]],
            },
            "properties": {
                "objectType": "annotation",
                "name": "w2w Tumor",
                "classification": {"name": "Tumor", "color": [200, 0, 0]},
                "isLocked": True,
            },
        }
    ]
    assert b"[[10,20],[10,40.26],[30.5,40.26],[30.5,20],[10,20]]" in (tmp_path / "a.regions.geojson").read_bytes()


def test_what_is_absent_is_left_out_and_never_null(tmp_path: Path) -> None:
    (found,) = written(tmp_path, replace(outline(box(0, 0, 9, 9), name=None), locked=False))
    assert found["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
    }


def test_one_part_is_a_polygon_and_more_are_a_multipolygon_with_holes(tmp_path: Path) -> None:
    holed = box(0, 0, 9, 9) - box(3, 3, 6, 6)
    far = box(20, 0, 29, 9)
    one, two = written(tmp_path, outline(MultiPolygon([holed])), outline(MultiPolygon([holed, far])))
    assert (one["geometry"]["type"], len(one["geometry"]["coordinates"])) == ("Polygon", 2)
    assert (two["geometry"]["type"], [len(part) for part in two["geometry"]["coordinates"]]) == ("MultiPolygon", [1, 2])
    assert shape(two["geometry"]).equals(holed | far)


def test_parts_that_meet_by_rounding_become_one_polygon(tmp_path: Path) -> None:
    near = MultiPolygon([box(0, 0, 10, 10), box(10.001, 0, 20, 10)])
    (found,) = written(tmp_path, outline(near))
    assert found["geometry"]["type"] == "Polygon"
    assert shape(found["geometry"]).equals(box(0, 0, 20, 10))


def test_a_third_dimension_is_dropped(tmp_path: Path) -> None:
    (found,) = written(tmp_path, outline(Polygon([(0, 0, 5), (9, 0, 5), (9, 9, 5)])))
    assert found["geometry"]["coordinates"] == [[[0, 0], [9, 9], [9, 0], [0, 0]]]


def test_the_same_area_drawn_otherwise_gives_the_same_bytes(tmp_path: Path) -> None:
    drawn = [(0, 0), (9, 0), (9, 9), (0, 9)]
    found = [written(tmp_path, outline(Polygon(points))) for points in (drawn, drawn[::-1], drawn[2:] + drawn[:2])]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("area", "what"),
    [
        (Point(1, 2), "is a Point and no area, so QuPath would refuse the file. Give a Polygon or MultiPolygon."),
        (
            LineString([(0, 0), (9, 9)]),
            "is a LineString and no area, so QuPath would refuse the file. Give a Polygon or MultiPolygon.",
        ),
        (
            Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]),
            "is not valid (Self-intersection[4.5 4.5]), so QuPath would refuse the file. "
            "Mend it with shapely.make_valid.",
        ),
        (
            Polygon([(0, 0), (9, math.inf), (9, 0)]),
            "has coordinates that are not numbers, so QuPath would refuse the file. Check how it was made.",
        ),
        (Polygon(), "is no area any more at 0.01 px, so QuPath would refuse the file. Leave it out."),
        (box(0, 0, 0.004, 9), "is no area any more at 0.01 px, so QuPath would refuse the file. Leave it out."),
    ],
    ids=["point", "line", "bow tie", "inf", "empty", "too thin"],
)
def test_an_outline_that_qupath_refuses_is_not_written_and_the_old_file_stays(
    tmp_path: Path, area: Any, what: str
) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(b"old")
    for name, called in (("mine", "outline 'mine'"), (None, f"outline {ID}")):
        with pytest.raises(AnnotationError) as caught:
            write_regions(path, [outline(box(0, 0, 9, 9)), outline(area, name=name)], {})
        assert str(caught.value) == f"{called} of class 'Tumor' {what}"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_outline_at_all_is_a_whole_file(tmp_path: Path) -> None:
    assert written(tmp_path) == []


COORDINATE = st.floats(-3000, 300_000, width=32)


@given(
    corners=st.lists(st.tuples(COORDINATE, COORDINATE, st.floats(0.02, 900)), min_size=1, max_size=6),
    turn=st.floats(0, 3),
    name=st.sampled_from(["Tumor", "Tumor: Positive", "组织"]),
)
def test_any_outline_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    corners: list[tuple[float, float, float]],
    turn: float,
    name: str,
) -> None:
    boxes = [
        shapely.affinity.rotate(box(x, y, x + side, y + 2 * side), turn, use_radians=True) for x, y, side in corners
    ]
    area = shapely.union_all(boxes)
    (found,) = written(tmp_path_factory.mktemp("outline"), outline(area, name))
    back = shape(found["geometry"])
    assert back.is_valid
    assert shapely.hausdorff_distance(back.boundary, area.boundary) <= 0.01
    assert back.symmetric_difference(area).area <= 0.01 * area.length
    classification = found["properties"]["classification"]
    assert ": ".join(classification.get("names") or [classification["name"]]) == name
    assert uuid.UUID(found["id"]) == ID
    numbers = shapely.get_coordinates(back).ravel().tolist()
    assert numbers == [round(number, 2) for number in numbers]


# many objects -------------------------------------------------------------------------------------------------------


def test_more_objects_than_qupath_copes_with_are_said() -> None:
    assert size_warning(Path("a.geojson.gz"), MANY_OBJECTS) is None
    assert size_warning(Path("out/a.geojson.gz"), 200_001) == (
        "out/a.geojson.gz: 200,001 objects. QuPath holds a file whole in memory while it imports, and 2 GB do not "
        "suffice for 500,000. Raise its maximum memory (Edit > Preferences) and save your project before you import it."
    )
