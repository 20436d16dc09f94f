"""Find a set in a folder: the forms in which it may lie there, and what to say when none is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from w2wpath.benchmarks.sources.stored import Stored
from w2wpath.errors import ConfigError


@dataclass(frozen=True)
class Layout:
    """One form of a set, and which of its files a folder holds.

    Attributes
    ----------
    title
        Of the form, as it is said in messages.
    wanted
        The files that it needs, in words.
    found
        Those of them that are there.
    """

    title: str
    wanted: tuple[str, ...]
    found: Mapping[str, Path]

    @property
    def missing(self) -> tuple[str, ...]:
        """The files that are wanted and not there."""
        return tuple(name for name in self.wanted if name not in self.found)


@dataclass(frozen=True)
class Advice:
    """What to say when a set is not there: where to get it, where to put it, how to check it.

    Attributes
    ----------
    name
        Of the set.
    where
        Its official page, in words.
    md5
        md5 of the official files, by name.
    """

    name: str
    where: str
    md5: Mapping[str, str]

    def text(self) -> str:
        """Say it."""
        sums = ", ".join(f"{name} {md5}" for name, md5 in self.md5.items())
        return f"Get it from {self.where} and put the files into this folder as they are. Their md5: {sums}."


def as_it_is(name: str) -> Sequence[str]:
    """Return the only spelling of a name."""
    return (name,)


def lay(
    folder: Path, title: str, wanted: Sequence[str], spellings: Callable[[str], Sequence[str]] = as_it_is
) -> Layout:
    """Look which of the files of a form are in `folder`, each under the first of its `spellings` that is there."""
    found = {}
    for name in wanted:
        there = [folder / spelling for spelling in spellings(name) if (folder / spelling).is_file()]
        if there:
            found[name] = there[0]
    return Layout(title, tuple(wanted), found)


def choose_layout(folder: Path, layouts: Sequence[Layout], advice: Advice) -> Layout:
    """Return the first form that is whole.

    Raises
    ------
    ConfigError
        None is: it says what was looked for, what is missing, and where to get it.
    """
    for layout in layouts:
        if not layout.missing:
            return layout
    looked = "; or ".join(
        layout.title if layout.wanted == (layout.title,) else f"{layout.title} ({', '.join(layout.wanted)})"
        for layout in layouts
    )
    raise ConfigError(f"{folder}: {_lack(folder, layouts, advice.name)} Looked for {looked}. {advice.text()}")


def _lack(folder: Path, layouts: Sequence[Layout], name: str) -> str:
    if not folder.is_dir():
        return "no such folder."
    begun = [f"of {layout.title}, {', '.join(layout.missing)} not found" for layout in layouts if layout.found]
    return f"{name} is not complete: {'; '.join(begun)}." if begun else f"{name} is not in this folder."


def origin(read: Iterable[Stored], chosen: Layout, layouts: Sequence[Layout]) -> str:
    """Return a line for each file that was read, and one for the whole forms that were passed over for it."""
    lines = [stored.origin for stored in read]
    others = [layout.title for layout in layouts if layout is not chosen and not layout.missing]
    if others:
        lines.append(f"not read, in favour of {chosen.title}: {', '.join(others)}")
    return "\n".join(lines)
