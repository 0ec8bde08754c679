"""Every example in the documentation runs, in order, file by file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from turnout import config
from turnout.simulation import load_scenario

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md"]


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The code blocks of a language: the line each begins at, and its text."""
    text = page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later blocks may use what earlier ones defined; the YAML configuration is there as router.yaml."""
    examples = blocks(page, "python")
    assert examples
    for _, text in blocks(page, "yaml"):
        (tmp_path / "router.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme"}
    for line, text in examples:
        exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)  # noqa: S102


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_examples_are_valid_configurations(page: Path) -> None:
    for _, text in blocks(page, "yaml"):
        loaded = config.load_text(text, page.name)
        assert not config.notices(loaded)


def test_scenarios_are_valid(tmp_path: Path) -> None:
    texts = [text for page in PAGES for _, text in blocks(page, "yaml scenario")]
    assert texts
    for text in texts:
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        assert load_scenario(path).troubles


def test_commands_in_the_readme_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
