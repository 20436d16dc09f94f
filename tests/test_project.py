"""What the project says of itself agrees: requirements, versions, licence, examples, the commands of the README."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from typing import Any

import pytest
import typer.main
import yaml

from tests.conftest import ROOT
from w2wpath.cli.main import app
from w2wpath.provenance import versions
from w2wpath.qupath.read import read_rois

CONDA_NAME = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
EXAMPLES = {
    # file: classes of its regions, areas taken out, objects left out
    "qupath-0.2-array.geojson": (("Stroma", "Tumor"), 0, 0),
    "qupath-0.3-collection.geojson": (("Stroma", "Tumor"), 0, 0),
    "qupath-0.4-feature.geojson": (("Tumor",), 0, 0),
    "qupath-0.5-collection.geojson": (("Stroma", "Tumor: Positive"), 1, 1),
}
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def requirement(text: str) -> tuple[str, str]:
    """Split ``name>=1.2`` into name and bounds."""
    name, bounds = re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", text.replace(" ", "")).groups()  # type: ignore[union-attr]
    return name, bounds


def test_conda_installs_what_pip_installs(project: dict[str, Any]) -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    by_conda = dict(requirement(line) for line in listed if isinstance(line, str))
    (by_pip,) = (line["pip"] for line in listed if isinstance(line, dict))
    assert by_conda.pop("python") == project["requires-python"]
    assert by_conda.pop("pip") == ""
    assert "--editable .[test]" in by_pip  # so that the tests run there too
    found = {**by_conda, **dict(requirement(line) for line in by_pip if not line.startswith("-"))}
    wanted = dict(requirement(line) for line in project["dependencies"])
    assert found == {CONDA_NAME.get(name, name): bounds for name, bounds in wanted.items()}


def test_every_requirement_has_a_lower_bound(project: dict[str, Any]) -> None:
    lines = project["dependencies"] + project["optional-dependencies"]["test"]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", line)] == []


def test_the_changelog_begins_with_the_version_that_is_installed(project: dict[str, Any]) -> None:
    versions_of_headings = re.findall(
        r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert versions_of_headings[0] == project["version"]
    assert (version("w2wpath"), versions()["w2wpath"]) == (project["version"], project["version"])


def test_the_licence_is_apache_2(project: dict[str, Any]) -> None:
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]


def test_every_example_export_is_listed_here_and_in_its_readme() -> None:
    found = sorted(path.name for path in (ROOT / "annotations" / "examples").iterdir())
    assert found == sorted(EXAMPLES)
    readme = (ROOT / "annotations" / "README.md").read_text("utf-8")
    assert sorted(re.findall(r"`examples/([^`]+)`", readme)) == found


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_exports_are_read(name: str) -> None:
    rois = read_rois(ROOT / "annotations" / "examples" / name)
    assert (rois.classes, len(rois.ignored), sum(rois.skipped().values())) == EXAMPLES[name]


def commands_in(text: str) -> list[list[str]]:
    """Return the words of every command line that begins with ``w2wpath``, without its comment."""
    lines = re.findall(
        r"(?:^|`|/)w2wpath ([a-z][^`\n#]*)", "\n".join(fenced(text) + re.findall(r"`[^`\n]+`", text)), re.M
    )
    return [line.split() for line in lines]


def fenced(text: str) -> list[str]:
    return [line.strip() for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/clusters.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "pipelines").glob("**/README.md")),
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_commands_that_are_documented_exist(name: str) -> None:
    for command, *words in commands_in((ROOT / name).read_text("utf-8")):
        assert command in COMMANDS
        asked, deeper = COMMANDS[command], list(words)
        while deeper and deeper[0] in getattr(asked, "commands", {}):
            asked = asked.commands[deeper.pop(0)]
        known = {word for option in asked.params for word in option.opts} | {"--help", "--debug"}
        assert [word for word in words if word.startswith("-") and word not in known] == []


def test_the_readme_shows_the_commands_of_the_chain() -> None:
    shown = [command for command, *_ in commands_in((ROOT / "README.md").read_text("utf-8"))]
    assert {"demo", "tile", "clean", "train", "heatmap"} <= set(shown)


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = re.findall(r"^make ([a-z0-9-]+)", "\n".join(fenced((ROOT / "README.md").read_text("utf-8"))), re.MULTILINE)
    assert used
    assert set(used) <= targets


def test_the_readme_links_to_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text("utf-8"))
    here = [link for link in links if "://" not in link]
    assert [link for link in here if not (ROOT / link).exists()] == []
