"""The script for QuPath names the right file and measurement whatever they are called; the colour map is cividis."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.frames import Frame
from w2wpath.heatmaps.qupath_files import cividis_tsv, groovy
from w2wpath.w2wnet.domain import Domain

FRAME = Frame("qupath", 10, 20, 3000, 2000)


def value_of(script: str, name: str) -> str:
    """Read a string in single quotes as Groovy does: UTF-16 escapes, then the others; a bare quote would end it."""
    (line,) = re.findall(rf"^def {name} = '((?:[^'\\\n]|\\.)*)'$", script, re.MULTILINE)
    assert "$" not in line
    assert line.isascii()
    simple = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'"}
    read = re.sub(
        r"\\(?:u([0-9a-f]{4})|(.))", lambda m: chr(int(m[1], 16)) if m[1] else simple[m[2]], line, flags=re.DOTALL
    )
    return read.encode("utf-16", "surrogatepass").decode("utf-16")


def test_the_script_loads_the_tiles_and_shows_the_first_class_from_0_to_1() -> None:
    script = groovy("a slide", ("Tumor", "Stroma"), FRAME)
    assert value_of(script, "tiles") == "a slide.geojson.gz"
    assert value_of(script, "measurement") == "w2w P(Tumor) confident"
    for line in (
        "importObjectsFromFile(found.getPath())",
        "mapper.setDisplayMinValue(0)",
        "mapper.setDisplayMaxValue(1)",
        "def mapper = new MeasurementMapper(map, measurement, getDetectionObjects())",
        "// the tiles count from the corner of this frame: qupath",
    ):
        assert line in script.splitlines()
    assert "{{" not in script
    assert script.count("{") == script.count("}")


def test_the_script_refuses_an_image_of_another_size_than_the_turned_frame() -> None:
    script = groovy("a", ("Tumor",), Frame("qupath-rot90", 10, 20, 3000, 2000, 1))
    assert "if (Math.abs(server.getWidth() - 2000) > 2 || Math.abs(server.getHeight() - 3000) > 2)" in script


def test_the_script_says_where_a_slide_is_out_of_domain() -> None:
    outside = Domain(False, 1.5, ("eosin 0.9, training slides 0.40 ± 0.02",))
    script = groovy("a", ("Tumor",), FRAME, outside)
    assert script.splitlines()[-1] == (
        "println('Out of domain: eosin 0.9, training slides 0.40 \\u00b1 0.02. "
        "What the model says of this slide may be wrong everywhere.')"
    )
    assert groovy("a", ("Tumor",), FRAME, Domain(True, 0.5)) == groovy("a", ("Tumor",), FRAME)


@pytest.mark.parametrize(
    "name", ["it's", 'a "b"', "$x ${y}", "back\\slash", "\\u0041", "\\", "组织 😀", "a\nb\tc", "{0}"]
)
def test_any_name_is_a_string_that_means_itself(name: str) -> None:
    script = groovy(name, (name, "other"), FRAME)
    assert value_of(script, "tiles") == f"{name}.geojson.gz"
    assert value_of(script, "measurement") == f"w2w P({name}) confident"


@given(st.text(min_size=1))
def test_every_text_is_a_string_that_means_itself(name: str) -> None:
    assert value_of(groovy(name, (name,), FRAME), "tiles") == f"{name}.geojson.gz"


def test_the_colour_map_has_256_rows_between_0_and_1() -> None:
    rows = np.array([[float(cell) for cell in line.split("\t")] for line in cividis_tsv().splitlines()])
    assert rows.shape == (256, 3)
    assert rows.min() >= 0
    assert rows.max() <= 1
    assert np.allclose(rows, matplotlib.colormaps["cividis"](range(256))[:, :3], atol=1e-6)
