"""Whose tile it is: what was given, a pattern, TMA cores, a table; nothing is guessed in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.errors import CohortError, ConfigError
from w2wpath.tiles.patients import (
    PatientOf,
    patient_from_regex,
    patient_of,
    read_cores,
    read_patient_map,
    require_slides,
)

CORES = {("tma", "A-1"): "P1", ("tma", "A-2"): "P2", ("other", "A-1"): "P3"}


def indices(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(values, dtype=np.int32)


# who says it --------------------------------------------------------------------------------------------------------


def test_what_was_given_wins_over_the_pattern_and_that_over_the_name() -> None:
    assert patient_of("s_P7_x", given="P1", pattern="P(.)") == PatientOf("P1", "given")
    assert patient_of("s_P7_x", pattern="P(.)") == PatientOf("7", "regex")
    assert patient_of("s_P7_x") == PatientOf("s_P7_x", "slide name")


def test_cores_decide_for_the_slides_that_their_table_names() -> None:
    found = patient_of("tma", pattern="P(.)", table=CORES, where="cores.csv")
    assert found == PatientOf("tma", "cores", {"A-1": "P1", "A-2": "P2"}, "cores.csv")
    assert patient_of("plain", given="P5", table=CORES) == PatientOf("P5", "given")


def test_a_row_without_a_core_means_the_whole_slide() -> None:
    assert patient_of("a", table={("a", None): "P1", ("b", None): "P2"}) == PatientOf("P1", "given")


def test_a_patient_that_is_said_twice_is_refused() -> None:
    with pytest.raises(CohortError) as caught:
        patient_of("tma", given="P1", table=CORES, where="cores.csv")
    assert str(caught.value) == "cores.csv: names slide 'tma', whose patient is given too ('P1'). Leave one out."


# patterns -----------------------------------------------------------------------------------------------------------


def test_a_pattern_gives_its_first_group_or_all_that_it_finds() -> None:
    assert patient_from_regex("TCGA-AA-3492-01Z-00-DX1", r"^(TCGA-..-....)-") == "TCGA-AA-3492"
    assert patient_from_regex("TCGA-AA-3492-01Z-00-DX1", r"TCGA-..-....") == "TCGA-AA-3492"
    assert patient_from_regex("x12_y34", r"x(\d+)_y(\d+)") == "12"


@pytest.mark.parametrize("pattern", [r"^P(\d+)", r"slide(x?)", "(z)?slide", ""])
def test_a_pattern_that_finds_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        patient_from_regex("slide 1", pattern)
    assert str(caught.value) == (
        f"--patient-from: {pattern!r} finds no patient in the slide name 'slide 1'. "
        "Mend the pattern, or give this slide's patient with --patient or the cohort's column."
    )


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        patient_from_regex("slide", "P(")
    assert str(caught.value) == (
        "--patient-from: 'P(' is not a regular expression (missing ), unterminated subpattern at position 1). "
        "Mend it; a group in parentheses marks the patient."
    )


# tiles --------------------------------------------------------------------------------------------------------------


def test_all_tiles_of_a_slide_are_of_one_patient() -> None:
    for who in (PatientOf("P1", "given"), PatientOf("P1", "regex"), PatientOf("P1", "slide name")):
        names, index = who.assign(indices(-1, 0, 1), ["A-1", "A-2"])
        assert (names, index.tolist(), index.dtype) == (["P1"], [0, 0, 0], np.int32)
        assert who.unknown(indices(-1, 0, 1)).tolist() == [False] * 3


def test_cores_of_one_patient_are_one_patient() -> None:
    who = PatientOf("tma", "cores", {"A-1": "P2", "A-2": "P1", "A-3": "P2", "A-4": "P5"})
    names, index = who.assign(indices(0, 2, 1, 0), ["A-1", "A-2", "A-3", "A-4"])
    assert (names, index.tolist()) == (["P1", "P2"], [1, 1, 0, 1])


def test_of_a_tile_in_no_core_the_patient_is_not_known() -> None:
    who = PatientOf("tma", "cores", {"A-1": "P1"})
    assert who.unknown(indices(0, -1)).tolist() == [False, True]
    assert who.assign(indices(0, -1), ["A-1"])[0] == ["P1", "tma"]


def test_cores_without_a_patient_are_listed_where_they_hold_tiles() -> None:
    names = [f"A-{i}" for i in range(9)]
    who = PatientOf("tma", "cores", {"A-0": "P1"}, "cores.csv")
    assert who.assign(indices(0, 0), names)[0] == ["P1"]
    with pytest.raises(CohortError) as caught:
        who.assign(np.arange(9, dtype=np.int32), names)
    assert str(caught.value) == (
        "cores.csv: names no patient for core(s) A-1, A-2, A-3, A-4, A-5 and 3 more of slide 'tma', which hold tiles. "
        "Add a row slide, core, patient for each, or mark them missing in QuPath."
    )


def test_a_slide_without_cores_needs_them_when_they_decide() -> None:
    with pytest.raises(CohortError) as caught:
        PatientOf("tma", "cores", {"A-1": "P1"}, "cores.csv").assign(indices(-1), [])
    assert str(caught.value) == (
        "cores.csv: names cores of slide 'tma', but its annotations hold none. "
        "Export the TMA cores with the annotations, or leave the slide out of the table."
    )


@given(
    core=st.lists(st.integers(-1, 3), max_size=20),
    patients=st.lists(st.sampled_from(("P1", "P2", "tma")), min_size=4, max_size=4),
)
def test_each_tile_has_the_patient_of_its_core(core: list[int], patients: list[str]) -> None:
    cores = ["a", "b", "c", "d"]
    names, index = PatientOf("tma", "cores", dict(zip(cores, patients, strict=True))).assign(indices(*core), cores)
    assert names == sorted(set(names))
    assert [names[i] for i in index] == [patients[i] if i >= 0 else "tma" for i in core]


# tables -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "map.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_core_table_is_read(csv: Callable[[str], Path]) -> None:
    text = "\ufeffpatient,slide,core\nP1, tma ,A-1\nP2,tma,A-2\nP1,tma,A-1\n"
    assert read_cores(csv(text)) == {("tma", "A-1"): "P1", ("tma", "A-2"): "P2"}


def test_a_patient_table_names_slides_or_cores(csv: Callable[[str], Path]) -> None:
    assert read_patient_map(csv("slide,patient\na,P1\nb,P1\n")) == {("a", None): "P1", ("b", None): "P1"}
    assert read_patient_map(csv("slide,core,patient\na,,P1\ntma,A-1,P2\n")) == {("a", None): "P1", ("tma", "A-1"): "P2"}


HEADER = "Give columns slide, core, patient."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no core. Give rows below the header slide, core, patient."),
        ("slide,core,patient\n", "holds no core. Give rows below the header slide, core, patient."),
        ("slide,patient\na,P1\n", f"column 'core' is missing. {HEADER}"),
        (
            "slide,core,patent\na,A-1,P1\n",
            "column must be one of slide, core, patient; got 'patent'. Did you mean 'patient'?",
        ),
        ("slide,core,patient\na,A-1,P1,P2\n", "line 2: has more cells than the header. Quote names that hold a comma."),
        ("slide,core,patient\na,A-1,P1\na,,P1\n", "line 3: core is empty. Fill it in, or leave the row out."),
        ("slide,core,patient\na,A-1\n", "line 2: patient is empty. Fill it in, or leave the row out."),
        (
            "slide,core,patient\na,A-1,P1\na,A-1,P2\n",
            "line 3: core 'A-1' of slide 'a' has patient 'P2' here and 'P1' above. Keep one.",
        ),
        (
            b"slide,core,patient\na,A-1,M\xfcller\n",
            "not a readable CSV ('utf-8' codec can't decode byte 0xfc in position 26: invalid start byte). "
            "Save it as UTF-8, comma separated.",
        ),
    ],
)
def test_a_wrong_core_table_says_where_and_what(csv: Callable[[str | bytes], Path], text: str, words: str) -> None:
    path = csv(text)
    with pytest.raises(CohortError) as caught:
        read_cores(path)
    assert str(caught.value) == f"{path}: {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slide,patient\n", "holds no patient. Give rows below the header slide, core, patient."),
        ("slide,core\na,A-1\n", f"column 'patient' is missing. {HEADER}"),
        ("slide,patient\na,P1\na,P2\n", "line 3: slide 'a' has patient 'P2' here and 'P1' above. Keep one."),
        (
            "slide,core,patient\na,A-1,P1\na,,P2\n",
            "slide 'a' has rows with a core and a row without. Name every core, or none.",
        ),
    ],
)
def test_a_wrong_patient_table_says_where_and_what(csv: Callable[[str], Path], text: str, words: str) -> None:
    path = csv(text)
    with pytest.raises(CohortError) as caught:
        read_patient_map(path)
    assert str(caught.value) == f"{path}: {words}"


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    for read, what in ((read_cores, "core"), (read_patient_map, "patient")):
        with pytest.raises(CohortError) as caught:
            read(tmp_path / "no.csv")
        assert str(caught.value) == (
            f"{tmp_path / 'no.csv'}: no such {what} table. Give a CSV with columns slide, core, patient."
        )


def test_a_slide_that_is_not_there_is_refused_with_a_hint() -> None:
    require_slides(CORES, ["tma", "other", "plain"], "cores.csv")
    with pytest.raises(CohortError) as caught:
        require_slides({("tma.svs", "A-1"): "P1"}, ["tma", "plain"], "cores.csv")
    assert str(caught.value) == (
        "cores.csv: slide 'tma.svs' is not one of the 2 slide(s) there are. Did you mean 'tma'? "
        "Slides are named by their file stem."
    )
