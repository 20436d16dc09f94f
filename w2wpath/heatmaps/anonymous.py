"""Take out of texts and pages what names a slide, a patient or a computer; and look whether anything is left.

A page is taken apart, so that only what people read and the values of its data are changed, never its scripts: a slide
may be called ``tile``.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

REMOVED = "(removed)"
SHORT = 4
"""A stem with fewer characters is replaced only where it stands alone, or before the ending of a file."""
_NAMING = re.compile(r"patient|slide|case|person|user|host|path|file|rois|cohort", re.IGNORECASE)
_PATH = re.compile(
    r"""file:[^"'<>\n,;]*"""
    r"""|(?<![\w.:/\\])(?:~?/(?:[^\s/"'<>,;][^/"'<>\n,;]*/)+|[A-Za-z]:[\\/]|\\\\)[^"'<>\n,;]*"""
)
_ENDING = r"(?=\.\w)"
_OPAQUE = 256
"""From this length on, letters that base64 uses are pixels and numbers; a file name has at most 255 bytes."""
_BASE64 = re.compile(rf"[A-Za-z0-9+/=]{{{_OPAQUE},}}")
_SAID = ("href", "src", "title", "alt", "aria-label", "content", "value", "download", "placeholder", "aria-description")
Words = Callable[[str], str]


@dataclass(frozen=True)
class Names:
    """What must not be seen of a slide, and what stands in its place.

    Attributes
    ----------
    label
        The new name: ``slide-01``.
    stem
        Of the slide's file, and of the files that the heatmap has.
    others
        Paths, patients and words of the command line; they are taken out.
    """

    label: str
    stem: str
    others: tuple[str, ...] = ()

    def clean(self, text: str) -> str:
        """Return `text` with the new name, and without paths and the others."""
        if len(text) >= _OPAQUE and _BASE64.fullmatch(text):
            return text
        for other in self.others:
            for form in _forms(other):
                text = text.replace(form, REMOVED)
        text = _PATH.sub(REMOVED, text)
        return self.label if text == self.stem else self._pattern().sub(self.label, text)

    def left_in(self, text: str) -> bool:
        """Tell whether the stem, or one of the others, is in `text`."""
        if len(text) >= _OPAQUE and _BASE64.fullmatch(text):
            return False
        text = text.replace(self.label, "")  # the stem may be a part of it
        named = text == self.stem or self._pattern().search(text) is not None
        return named or any(form in text for other in self.others for form in _forms(other))

    def _pattern(self) -> re.Pattern[str]:
        forms = "|".join(re.escape(form) for form in _forms(self.stem))
        if len(self.stem) < SHORT:
            return re.compile(rf"(?<![\w.-])(?:{forms}){_ENDING}")
        return re.compile(forms, re.IGNORECASE)


def names_of(stem: str, slide: str, provenance: Mapping[str, Any], label: str) -> Names:
    """Return what names a slide: its stem, and what a provenance record holds of paths, patients and the command line.

    Parameters
    ----------
    slide
        File name of the slide.
    label
        What to call it instead.
    """
    argv = [part for word in provenance.get("argv", ()) for part in str(word).split("=", 1)]
    words = [word for at, word in enumerate(argv) if _names(word) or (at and _NAMING.search(argv[at - 1]))]
    told = [value for key, value in _strings(provenance) if _names(value) or _NAMING.search(key)]
    if PurePath(slide).stem != stem:
        told += [slide, PurePath(slide).stem]
    # what is short, or only an option, would be found everywhere; a name with the stem in it goes with the stem
    others = {word for word in (*words, *told) if len(word) >= SHORT and not word.startswith("-")}
    others -= {stem, f"{stem}{PurePath(slide).suffix}"}
    return Names(label, stem, tuple(sorted(others, key=len, reverse=True)))


def clean_facts(facts: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return a record without its command line, every text in it cleaned."""
    return {key: _mapped(value, names.clean) for key, value in facts.items() if key != "argv"}


def clean_page(page: str, names: Names) -> str:
    """Return an HTML page in which texts, attributes that people or links use, and JSON data are cleaned.

    What stands beside the word ``argv`` in a list of facts is taken out as a whole.
    """
    rewriter = _Rewriter(names)
    rewriter.feed(page)
    rewriter.close()
    return "".join(rewriter.out)


def left_in_page(page: str, names: Names) -> bool:
    """Tell whether a page still names the slide: in what people read and in data; anywhere, if the stem is unusual."""
    reader = _Rewriter(names)
    reader.feed(page)
    reader.close()
    if any(names.left_in(text) for text in reader.seen):
        return True
    bare = _BASE64.sub("", page).replace(names.label, "").casefold()
    return unusual(names.stem) and any(form.casefold() in bare for form in _forms(names.stem))


def unusual(stem: str) -> bool:
    """Tell whether a stem can be no word or number that a page or a file of tiles has anyway."""
    return len(stem) >= SHORT and bool(re.search(r"\d", stem)) and not re.fullmatch(r"[\da-fA-F.+-]*", stem)


def _names(value: str) -> bool:
    return bool(re.search(r"[/\\]|\.\w{2,8}$", value)) and not re.fullmatch(r"[\d.]+", value)


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in ("argv", "versions", "command", "time", "fingerprint"):
                yield from _strings(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item, key)


def _mapped(value: Any, change: Words) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items() if key != "argv"}
    return [_mapped(item, change) for item in value] if isinstance(value, list | tuple) else value


def _forms(text: str) -> list[str]:
    """Return how `text` may be written in HTML, JSON, JSON within HTML, and links; longest first."""
    plain = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    safe = {form for one in plain for form in (html.escape(one), html.escape(one, quote=False), _script_safe(one))}
    links = {quote(text), quote(text, safe="")}
    return sorted(plain | safe | links, key=len, reverse=True)


def _script_safe(text: str) -> str:
    """Write with JSON's escapes what could end a script."""
    return re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", text)


class _Rewriter(HTMLParser):
    """Copies a page with cleaned texts to `out`; `seen` are the texts as they were."""

    def __init__(self, names: Names) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.seen: list[str] = []
        self._names = names
        self._raw: str | None = None
        self._drop = False
        self._term: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._raw = "json" if dict(attrs).get("type") == "application/json" else tag
        if tag in ("dt", "th"):
            self._term, self._drop = "", False
        self.out.append(self._tag(tag, attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.out.append(self._tag(tag, attrs, " /"))

    def handle_endtag(self, tag: str) -> None:
        self._raw = None
        if tag in ("dt", "th") and self._term is not None:
            self._drop, self._term = self._term.strip() == "argv", None
        elif tag in ("dd", "td"):
            self._drop = False
        self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._term is not None:
            self._term += data
        if self._raw == "json":
            self.out.append(self._json(data))
        elif self._raw is not None:
            self.out.append(data)
        elif self._drop and data.strip():
            self.out.append(REMOVED)
        else:
            self.out.append(html.escape(self._said(data), quote=False))

    def handle_comment(self, data: str) -> None:
        self.out.append(f"<!--{self._said(data)}-->")

    def handle_pi(self, data: str) -> None:
        self.out.append(f"<?{data}>")

    def handle_decl(self, decl: str) -> None:
        self.out.append(f"<!{decl}>")

    def _said(self, text: str) -> str:
        self.seen.append(text)
        return self._names.clean(text)

    def _tag(self, tag: str, attrs: list[tuple[str, str | None]], end: str = "") -> str:
        cleaned = [(name, self._attribute(name, value)) for name, value in attrs]
        if cleaned == attrs:
            return self.get_starttag_text() or ""
        return f"<{tag}{''.join(_written(name, value) for name, value in cleaned)}{end}>"

    def _attribute(self, name: str, value: str | None) -> str | None:
        if name not in _SAID or not value or value.startswith(("data:", "#")):
            return value
        return self._said(value)

    def _json(self, text: str) -> str:
        try:
            told = json.loads(text)
        except ValueError:
            return self._said(text)
        changed = _values(told, self._said)
        return text if changed == told else _script_safe(json.dumps(changed))


def _written(name: str, value: str | None) -> str:
    return f" {name}" if value is None else f' {name}="{html.escape(value)}"'


def _values(value: Any, change: Words) -> Any:
    """Change the texts among the values of JSON data; numbers packed as base64 are none, whatever their length."""
    if isinstance(value, str):
        return change(value) if not re.fullmatch(r"[A-Za-z0-9+/]{32,}={0,2}", value) else value
    if isinstance(value, dict):
        return {key: [] if key == "argv" else _values(item, change) for key, item in value.items()}
    return [_values(item, change) for item in value] if isinstance(value, list) else value
