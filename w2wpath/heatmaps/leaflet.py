"""Leaflet, the map library behind the viewer: its script and its style, to be put inside a page that works offline."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from w2wpath.errors import ConfigError

PACKAGE = "XStatic-Leaflet"
LICENCE = """Leaflet is used under the BSD 2-Clause licence:

Copyright (c) 2010-2022, Volodymyr Agafonkin
Copyright (c) 2010-2011, CloudMade
All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF
THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."""


@dataclass(frozen=True)
class Assets:
    """Texts to put into a page: ``script`` with its header comment, ``style`` with its pictures as data URIs."""

    script: str
    style: str


@cache
def assets() -> Assets:
    """Read Leaflet from the installed package.

    Raises
    ------
    ConfigError
        The package is not installed, or lacks its files.
    """
    script = "\n".join(line for line in _text("leaflet.js").splitlines() if "sourceMappingURL" not in line)
    style = re.sub(r"url\((images/[\w.-]+)\)", lambda found: f"url({_picture(found[1])})", _text("leaflet.css"))
    for text, end in ((script, "</script"), (style, "</style")):
        if end in text.lower():
            raise ConfigError(f"{PACKAGE}: its files hold {end}, which ends a page's own. Install another version.")
    return Assets(script, style)


def _picture(name: str) -> str:
    return f"data:image/png;base64,{base64.b64encode(_path(name).read_bytes()).decode()}"


def _text(name: str) -> str:
    return _path(name).read_text("utf-8")


def _path(name: str) -> Path:
    try:
        found = [entry for entry in files(PACKAGE) or () if entry.as_posix().endswith(f"leaflet/data/{name}")]
    except PackageNotFoundError:
        found = []
    if not found:
        raise ConfigError(f"{PACKAGE}: is not installed, or lacks {name}. Run: pip install --force-reinstall {PACKAGE}")
    return Path(str(found[0].locate()))
