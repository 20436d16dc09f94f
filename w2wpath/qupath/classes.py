"""Which class an object has, in every form that QuPath and its neighbours write, and what a class map makes of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from w2wpath.config import ClassMap
from w2wpath.errors import did_you_mean
from w2wpath.qupath.colours import Colour
from w2wpath.qupath.geojson import table

Use = Literal["label", "exclude", "scope"]
LEGACY_IDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
    "PathRootObject": "root",
}
"""QuPath 0.2 wrote the Java class of an object as its id."""
_KINDS = {kind.casefold(): kind for kind in LEGACY_IDS.values()} | {"tma_core": "tmaCore"}
_FOREIGN = ("annotation_girder_id", "element_girder_id", "lineColor", "fillColor", "annotation")
"""Properties by which a Feature of the Digital Slide Archive is known."""


@dataclass(frozen=True, slots=True)
class Named:
    """A class as QuPath shows it (derived ones as ``A: B``); None for none. `note`: what was tidied, or is odd."""

    name: str | None
    note: str = ""
    understood: bool = True


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an object of a class is used for; None for nothing, then `reason` says why."""

    name: str | None
    use: Use | None
    reason: str = ""
    unknown: Literal["", "starred", "unlisted"] = ""
    """What a class map would have to say of this class and does not."""


def kind_of(feature: Mapping[str, Any]) -> str:
    """Return the kind of object: annotation, detection, cell, tile, tmaCore, root, or an unknown word as it stands."""
    properties = table(feature, "properties")
    for said in (properties.get("objectType"), properties.get("object_type"), feature.get("objectType")):
        if isinstance(said, str):
            return _KINDS.get(said.casefold(), said)
    legacy = feature.get("id")
    if isinstance(legacy, str) and legacy in LEGACY_IDS:
        return LEGACY_IDS[legacy]
    said = properties.get("type")  # other tools say something else here: the shape, say
    return _KINDS.get(said.casefold(), "annotation") if isinstance(said, str) else "annotation"


def class_of(feature: Mapping[str, Any], class_from: str = "classification") -> Named:
    """Return the class of a Feature.

    Read are a string, ``{"name"}``, ``{"names"}``, nested ``parentClass``, null and nothing (QuPath 0.2 to 0.7),
    and ``label`` or ``group`` of the Digital Slide Archive.
    """
    properties = table(feature, "properties")
    if class_from == "name":
        found = properties.get("name")
    elif "classification" not in properties and any(key in properties for key in _FOREIGN):
        label = properties.get("label")
        found = label.get("value") if isinstance(label, dict) else label
        found = found or properties.get("group")
    else:
        found = properties.get("classification")
    if found is None or found == {}:
        return Named(None)
    parts = _parts(found)
    if parts is None:
        return Named(None, f"class of unknown form: {_short(found)}", understood=False)
    said = ": ".join(parts)
    tidy = ": ".join(word for part in parts for piece in part.split(":") if (word := printable(piece)))
    if not tidy:
        understood = isinstance(found, str)
        return Named(None, "" if understood else f"class of unknown form: {_short(found)}", understood)
    return Named(tidy, "" if said == tidy else f"class {_short(said)} read as {_short(tidy)}")


def printable(text: str) -> str:
    """Return `text` on one line, without what cannot be shown: control characters, marks of no width, half pairs."""
    if not text.isprintable():
        text = "".join(letter for letter in text if letter.isspace() or letter.isprintable())
    return " ".join(text.split())


def _parts(found: Any) -> list[str] | None:
    """Return the components of a class as they are written; None for an unknown form."""
    if isinstance(found, str):
        return [found]
    if not isinstance(found, dict):
        return None
    names = found.get("names")
    if isinstance(names, list) and names:
        return names if all(isinstance(name, str) for name in names) else None
    parts: list[str] = []
    link: Any = found
    while isinstance(link, dict):
        name = link.get("name")
        if not isinstance(name, str):
            return None
        parts.insert(0, name)
        link = link.get("parentClass")
    return parts if link is None else None


def colour_of(feature: Mapping[str, Any]) -> Colour | None:
    """Return the colour that a Feature's class has in its file: ``color`` [r, g, b] or the packed ``colorRGB``."""
    classification = table(table(feature, "properties"), "classification")
    rgb, packed = classification.get("color"), classification.get("colorRGB")
    if isinstance(rgb, list) and len(rgb) >= 3 and all(type(part) is int and 0 <= part <= 255 for part in rgb[:3]):
        return rgb[0], rgb[1], rgb[2]
    if type(packed) is int and -(2**31) <= packed < 2**32:  # a signed Java int, alpha in its highest byte
        return packed >> 16 & 255, packed >> 8 & 255, packed & 255
    return None


def meaning(name: str | None, rules: ClassMap) -> Meaning:
    """Say what an object of class `name` is used for under a class map."""
    if name is None:
        use = rules.unclassified
        return Meaning(None, use) if use in ("exclude", "scope") else Meaning(None, None, "no class")
    canonical = _canonical(name, rules)
    if canonical is not None:
        name = canonical
    if name.endswith("*"):
        return _starred(name, rules)
    if canonical is None and rules.classes:
        hint = did_you_mean(name, [*rules.classes, *(word for rule in rules.classes.values() for word in rule.aliases)])
        return Meaning(name, None, f"class {name} is not in the class map.{hint}", unknown="unlisted")
    return Meaning(name, "label")


def _canonical(name: str, rules: ClassMap) -> str | None:
    word = name.casefold()
    for listed, rule in rules.classes.items():
        if word == listed.casefold() or any(word == alias.casefold() for alias in rule.aliases):
            return listed
    return None


def _starred(name: str, rules: ClassMap) -> Meaning:
    for listed, rule in rules.starred.items():
        if listed.casefold() == name.casefold():
            return Meaning(name, None, f"class {name} is not a label") if rule == "skip" else Meaning(name, rule)
    if name.startswith("Ignore"):
        return Meaning(name, "exclude")
    return Meaning(name, None, f"class {name} is not a label", unknown="starred")


def near_duplicates(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of class names that may be one: other letter case, marks or spaces, or one letter apart.

    Names of fewer than five letters, and names that differ in a digit or a sign at the end of a word, are taken as
    they are: AC and AD, Grade 1 and 2, PD-L1+ and PD-L1-.
    """
    plain = {name: _plain(name) for name in sorted(set(names))}
    return [(a, b) for a, b in combinations(plain, 2) if _alike(plain[a], plain[b])]


def _plain(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold()
    signs = [letter in "+-" and not text[i + 1 : i + 2].isalnum() for i, letter in enumerate(text)]
    return "".join(letter for letter, sign in zip(text, signs, strict=True) if sign or letter.isalnum())


def _alike(a: str, b: str) -> bool:
    if a == b:
        return True
    short, long = sorted((a, b), key=len)
    if len(short) < 5 or len(long) - len(short) > 1:
        return False
    first = next((i for i, letter in enumerate(short) if letter != long[i]), len(short))
    same_length = len(short) == len(long)
    if short[first + same_length :] != long[first + 1 :]:
        return False
    differing = long[first] + short[first : first + same_length]
    return not any(letter.isdigit() or letter in "+-" for letter in differing)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
