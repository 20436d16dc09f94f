"""The torch data set gives the tiles of the store, in this process and in workers however they are started."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from tests.tiles.made import empty_store, given, made_pixels, made_tiles
from w2wpath.errors import StoreError
from w2wpath.tiles.codecs import CODECS
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.nets.dataset import TileDataset


@pytest.fixture(params=CODECS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TileStore:
    """Two slides of 270 and 40 tiles."""
    made = empty_store(tmp_path / "tiles.zarr", request.param)
    for slide, n in (("a", 270), ("b", 40)):
        made.add(slide, made_tiles(n, n), given(request.param, made_pixels(n, n)))
    return made


def expected(store: TileStore) -> torch.Tensor:
    pixels = np.concatenate([store.images("a"), store.images("b")])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def test_a_tile_is_channels_first_with_its_label(store: TileStore) -> None:
    dataset, table = TileDataset(store, store.table()), store.table()
    assert len(dataset) == 310
    for i in (0, 269, 270, 309, 5, -1):
        tile, label = dataset[i]
        assert (tile.dtype, tile.shape, tile.is_contiguous()) == (torch.uint8, (3, 8, 8), True)
        assert torch.equal(tile, expected(store)[i])
        assert (label, type(label)) == (int(table.label[i]), int)


def test_rows_choose_and_order(store: TileStore) -> None:
    rows = np.array([300, 2, 2, 280])
    table = store.table()
    dataset = TileDataset(store, table, rows)
    assert len(dataset) == 4
    assert dataset.labels.tolist() == table.label[rows].tolist()
    assert torch.equal(torch.stack([dataset[i][0] for i in range(4)]), expected(store)[rows])
    part = TileDataset(store, table.take(rows))
    assert all(torch.equal(part[i][0], dataset[i][0]) for i in range(4))


def test_a_transform_is_applied_to_each_tile(store: TileStore) -> None:
    dataset = TileDataset(store, store.table(), transform=lambda tile: tile.float() / 255)
    assert torch.equal(dataset[3][0], expected(store)[3].float() / 255)


def test_a_tile_that_is_not_there_is_an_index_error(store: TileStore) -> None:
    with pytest.raises(IndexError):
        TileDataset(store, store.table())[310]


def test_a_data_set_that_was_read_from_can_be_pickled(store: TileStore) -> None:
    dataset = TileDataset(store, store.table())
    assert torch.equal(dataset[7][0], pickle.loads(pickle.dumps(dataset))[7][0])
    assert len(pickle.dumps(dataset)) < 10_000


def loaded(dataset: TileDataset, context: str) -> tuple[torch.Tensor, torch.Tensor]:
    loader = DataLoader(Subset(dataset, range(310)), batch_size=32, num_workers=2, multiprocessing_context=context)
    tiles, labels = zip(*loader, strict=True)
    return torch.cat(tiles), torch.cat(labels)


# Python 3.12 warns of every fork beside a thread; zarr has one, and starts it anew in the child
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_forked_workers_read_the_same_after_this_process_has_read(store: TileStore) -> None:
    dataset = TileDataset(store, store.table())
    assert torch.equal(dataset[300][0], expected(store)[300])
    tiles, labels = loaded(dataset, "fork")
    assert torch.equal(tiles, expected(store))
    assert labels.tolist() == store.table().label.tolist()


@pytest.mark.parametrize("store", ["jpeg"], indirect=True)
def test_spawned_workers_read_the_same(store: TileStore) -> None:
    tiles, labels = loaded(TileDataset(store, store.table()), "spawn")
    assert torch.equal(tiles, expected(store))
    assert labels.tolist() == store.table().label.tolist()


@pytest.mark.parametrize("store", ["zstd"], indirect=True)
def test_a_damaged_tile_names_its_slide_and_the_cure(store: TileStore) -> None:
    path = store.path / "slides/b/images/c/0/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    dataset = TileDataset(store, store.table())
    assert dataset[269][0].shape == (3, 8, 8)
    with pytest.raises(StoreError) as caught:
        dataset[270]
    assert str(caught.value) == (
        f"{store.path}: the tiles of slide 'b' cannot be read "
        "(ValueError: the index of a shard is damaged (crc32c)). "
        f"Remove {store.path / 'slides' / 'b'} and tile this slide again; the others are not affected."
    )


@pytest.mark.parametrize("store", ["zstd"], indirect=True)
def test_a_slide_replaced_meanwhile_stays_as_it_was_while_its_file_is_open(store: TileStore) -> None:
    dataset = TileDataset(store, store.table())
    before = dataset[290][0]
    store.add("b", made_tiles(40, 1), made_pixels(40, 1))
    assert torch.equal(dataset[290][0], before)
    assert not torch.equal(TileDataset(store, store.table())[290][0], before)
