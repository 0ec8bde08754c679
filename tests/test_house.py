"""The rules of the house: who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import turnout

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / "python" / "turnout"
RUST = ROOT / "rust"

# What each part of the Python package may import of the others, besides `errors`, which everyone may.
ALLOWED = {
    "config": {"_core"},
    "errors": set(),
    "reports": set(),
    "results": {"reports"},
    "message": set(),
    "security": set(),
    "transports": {"config", "message", "security"},
    "testing": {"message", "transports"},
    "delivery": {"_core", "config", "message", "transports", "reports"},
    "events": {"_core", "reports"},
    "health": {"config", "security"},
    "sources": {"config", "security"},
    "custom_rules": set(),
    "router": {"_core", "config", "custom_rules", "delivery", "events", "health", "reports", "sources", "transports"},
    "optimizer": {"results", "reports", "_core"},
    "simulation": {"_core", "config", "reports"},
    "functions": {"config", "delivery", "optimizer", "reports", "results", "router"},
    "cli": {
        "_core",
        "config",
        "delivery",
        "message",
        "reports",
        "results",
        "router",
        "simulation",
        "sources",
        "turnout",
    },
    "__main__": {"cli"},
}

# What each part of the crate may use of the others, besides `error`, which every part may.
RUST_ALLOWED = {
    "error": set(),
    "stats": set(),
    "hash": set(),
    "message": {"hash"},
    "rules": {"hash", "message"},
    "pool": {"balance", "stats"},
    "balance": {"stats"},
    "cache": {"message", "stats"},
    "router": {"message", "rules", "pool", "balance", "cache", "stats"},
    "batch": {"message", "rules", "pool", "router"},
    "simulate": {"pool", "balance", "stats"},
    "python": {"message", "rules", "pool", "balance", "cache", "router", "simulate", "stats", "batch"},
}


def part_of(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(path.suffix)


def imported_parts(path: Path) -> set[str]:
    """The parts of the package that a file imports when it runs (imports for type checkers alone do not count)."""
    depth = len(path.relative_to(PYTHON).parts) - 1
    tree = ast.parse(path.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom):
            if node.level == depth + 1:
                found |= {node.module.split(".")[0]} if node.module else {name.name for name in node.names}
            elif node.level == 0 and node.module and node.module.split(".")[0] == "turnout":
                parts = node.module.split(".")[1:]
                found |= {parts[0]} if parts else {"turnout"}
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "turnout":
                    found.add([*name.name.split("."), "turnout"][1])
    return found


@pytest.mark.parametrize("path", sorted(PYTHON.rglob("*.py")), ids=lambda path: str(path.relative_to(PYTHON)))
def test_python_parts_import_downwards_only(path: Path) -> None:
    part = part_of(path, PYTHON)
    if part == "__init__":
        return
    assert imported_parts(path) - {part, "errors"} <= ALLOWED[part]


@pytest.mark.parametrize("path", sorted(RUST.rglob("*.rs")), ids=lambda path: str(path.relative_to(RUST)))
def test_rust_parts_use_downwards_only(path: Path) -> None:
    part = part_of(path, RUST)
    if part == "lib":
        return
    code = re.sub(r"//.*", "", path.read_text())
    used = set(re.findall(r"\bcrate::(\w+)", code))
    assert used - {part, "error"} <= RUST_ALLOWED[part]
    assert part == "python" or "pyo3" not in code


def test_importing_brings_in_nothing_that_is_optional_or_slow() -> None:
    script = "import sys, turnout; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"typer", "rich", "numpy", "pydantic", "asyncio", "yaml", "matplotlib"} & set(modules)


def test_everything_that_is_exported_exists() -> None:
    for name in turnout.__all__:
        assert getattr(turnout, name) is not None
    assert dir(turnout) == sorted(turnout.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Turnout'"):
        turnout.Turnout  # noqa: B018


def test_the_schemes_a_configuration_may_name_are_those_there_is_a_transport_for() -> None:
    from turnout import config, transports

    assert set(config.SCHEMES) == set(transports.SCHEMES)


def test_a_transport_that_needs_a_package_of_its_own_is_imported_only_when_it_is_used() -> None:
    script = "import sys, turnout, turnout.router, turnout.transports; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    clients = {"aiohttp", "redis", "nats", "aiosmtplib", "aio_pika", "aiomqtt", "paho", "confluent_kafka", "apprise"}
    assert not clients & set(modules)
