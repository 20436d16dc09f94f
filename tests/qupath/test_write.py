"""Tiles for QuPath: what its importer accepts, whole or not at all, the same bytes for the same tiles."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import file_size_limit
from w2wpath.errors import DiskError, NonFiniteScoreError
from w2wpath.qupath.write import TileObject, write_tiles


def tile(i: int, **measurements: float) -> TileObject:
    object_id = uuid.uuid5(uuid.NAMESPACE_OID, str(i))
    return TileObject(object_id, 256 * i, 512, 256, "Tumor", (200, 0, 0), measurements or {"P(Tumor)": 0.123456})


def decoded(path: Path) -> dict[str, Any]:
    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()).decode(), parse_constant=no_constants)
    return found


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
