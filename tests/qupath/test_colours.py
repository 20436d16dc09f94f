"""Colours of classes."""

from __future__ import annotations

from w2wpath.qupath.colours import UNCERTAIN, class_colours


def test_classes_that_qupath_knows_keep_its_colours() -> None:
    assert class_colours(("Stroma", "Tumor")) == {"Stroma": (150, 200, 150), "Tumor": (200, 0, 0)}


def test_other_classes_take_the_cycle_in_their_order() -> None:
    assert class_colours(("AC", "Tumor", "AD")) == {"AC": (213, 94, 0), "Tumor": (200, 0, 0), "AD": (0, 114, 178)}


def test_seven_new_classes_and_the_mask_look_different() -> None:
    colours = class_colours(tuple("abcdefg"))
    assert len({*colours.values(), UNCERTAIN}) == 8


def test_more_classes_than_colours_still_get_one_each() -> None:
    names = tuple(f"class {i}" for i in range(30))
    assert tuple(class_colours(names)) == names
    assert class_colours(names) == class_colours(names)


def test_every_colour_is_three_bytes() -> None:
    for colour in class_colours((*"abcdefgh", "Other", "Necrosis")).values():
        assert len(colour) == 3
        assert all(isinstance(value, int) and 0 <= value <= 255 for value in colour)
