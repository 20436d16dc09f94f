"""Annotations come in any frame, and are put into the slide frame; what is to be ignored is cut out."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapely import box

from tests.conftest import save_bounded_tiff, write_geojson
from tests.heatmaps.made import PX, picture, save_slide
from w2wpath.errors import AnnotationError, FrameError
from w2wpath.heatmaps.annotations import read_annotations
from w2wpath.slides.reader import open_slide


def test_annotations_of_qupaths_cropped_view_land_on_the_slide(tmp_path: Path) -> None:
    path = save_bounded_tiff(tmp_path / "b.tiff", picture(), (PX, 2 * PX, 4 * PX, 2 * PX), tile=PX)
    rois = write_geojson(tmp_path / "b.geojson", [("Tumor", box(0, 0, PX, PX)), ("Ignore*", box(0, 0, 10, 10))])
    with open_slide(path, slide_mpp=0.5) as slide:
        found = read_annotations(rois, slide, "qupath")
    (one,) = found.regions
    whole = box(PX, 2 * PX, 2 * PX, 3 * PX)
    assert (found.frame.name, one.class_name) == ("qupath", "Tumor")
    assert one.geometry.equals(whole.difference(box(PX, 2 * PX, PX + 10, 2 * PX + 10)))


def test_a_region_that_is_ignored_whole_is_none(tmp_path: Path) -> None:
    regions = [("Tumor", box(0, 0, PX, PX)), ("Stroma", box(PX, 0, 2 * PX, PX)), ("Ignore*", box(0, 0, PX, PX))]
    rois = write_geojson(tmp_path / "a.geojson", regions)
    with open_slide(save_slide(tmp_path / "a.svs")) as slide:
        assert [one.class_name for one in read_annotations(rois, slide).regions] == ["Stroma"]


def test_a_frame_that_is_not_certain_is_refused(tmp_path: Path) -> None:
    path = save_bounded_tiff(tmp_path / "b.tiff", picture(), (PX, PX, 4 * PX, 3 * PX), tile=PX)
    rois = write_geojson(tmp_path / "b.geojson", [("Tumor", box(3 * PX, PX, 4 * PX, 2 * PX))])
    with open_slide(path, slide_mpp=0.5) as slide, pytest.raises(FrameError, match=f"^{path}: .*--origin"):
        read_annotations(rois, slide)


def test_a_file_without_a_region_is_refused(tmp_path: Path) -> None:
    rois = write_geojson(tmp_path / "a.geojson", [(None, box(0, 0, PX, PX))])
    with open_slide(save_slide(tmp_path / "a.svs")) as slide, pytest.raises(AnnotationError, match=f"^{rois}: "):
        read_annotations(rois, slide)
