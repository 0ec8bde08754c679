"""Prints what the benchmarks measured as one table: time of one step, and the ratio to the group's peer.

Usage: report.py RESULTS.json, as pytest-benchmark wrote it. Times are medians. A group's name begins with the number
of steps in a round, such as "1,000 decisions".
"""

from __future__ import annotations

import json
import platform
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

PEERS = ("dict of tuples", "caching: off", "first_json in a loop", "random.choices", "the callable awaited")
NAMES = {
    "test_dispatch": "Router.dispatch",
    "test_bare_await": "the callable awaited",
    "test_select_by_random_choices": "random.choices",
}


def label(entry: dict[str, Any]) -> str:
    """What was measured, in words: the parameter that tells it from the others of its group."""
    params = entry["params"] or {}
    caching = f"caching: {params['caching']}" if "caching" in params else None
    return str(params.get("name") or params.get("policy") or caching or NAMES[entry["name"]])


def main(path: Path) -> None:
    """Reads the results and prints the table in Markdown."""
    results = json.loads(path.read_text())
    groups: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for entry in results["benchmarks"]:
        steps = int(entry["group"].split()[0].replace(",", ""))
        groups[entry["group"]].append((label(entry), entry["stats"]["median"] / steps * 1e6))
    cpu = results["machine_info"]["cpu"]
    machine = f"{cpu.get('brand_raw', platform.machine())}, {cpu.get('count', '?')} cores"
    print(f"\nMedian of one step; CPython {platform.python_version()}, {machine}\n")
    print("| of so many in a row | | µs each | beside the peer |")
    print("|---|---|---:|---:|")
    for group, rows in groups.items():
        peer = next((time for name, time in rows if name in PEERS), None)
        for name, time in sorted(rows, key=lambda row: row[1]):
            ratio = "" if peer is None else f"{time / peer:.2f}" if time > peer / 100 else f"{time / peer:.4f}"
            print(f"| {group} | {name} | {time:.3f} | {ratio} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
