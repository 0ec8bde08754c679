"""Counts the instructions of the hot paths under callgrind, and compares them with the baseline that is committed.

    python benches/instructions.py            compares; ends with status 1 if a count grew by more than 5 %, or if a
                                              policy that is O(1) costs over 1.5 times as much at 1,000 destinations
    python benches/instructions.py --write    makes what is counted now the baseline

`benches/instructions.rs` runs the cases. A count is of instructions of one step: it depends on the compiler and on the
libraries, and hardly on the machine's mood. Needs valgrind; without it the comparison fails, for it guards something.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = Path(__file__).with_name("instructions.toml")
ALLOWED = 0.05
FLAT = 1.5
LOOKS_AT_ALL = "rendezvous"
Counts = dict[str, int]


def build() -> str:
    """Compiles the benchmark; the path of its executable."""
    command = ["cargo", "bench", "--locked", "--bench", "instructions", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    artifacts = (json.loads(line) for line in built.splitlines())
    return next(str(one["executable"]) for one in artifacts if one.get("executable"))


def count(executable: str, directory: Path) -> Counts:
    """Instructions of one step, by case: callgrind writes a profile whenever `measured` returns."""
    measured = "instructions::measured"  # in full: asterisks serve to toggle, and not to dump
    command = ["valgrind", "--tool=callgrind", f"--toggle-collect={measured}", f"--dump-after={measured}"]
    command += [f"--callgrind-out-file={directory / 'profile'}", "--quiet", executable]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    counts: Counts = {}
    for number, line in enumerate(printed.splitlines(), 1):
        name, steps = line.split("\t")
        path = directory / f"profile.{number}"
        total = re.search(r"^totals: (\d+)", path.read_text() if path.exists() else "", re.MULTILINE)
        if total is None or int(total[1]) == 0:
            raise SystemExit(f"callgrind counted nothing for {name!r}: has its executable no symbols?")
        counts[name] = round(int(total[1]) / int(steps))
    return counts


def toolchain() -> str:
    return subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def write(counts: Counts) -> None:
    lines = [
        "# Instructions of one step of each hot path, by callgrind; written by make instructions-baseline.",
        f"rustc = {json.dumps(toolchain())}",
        "",
        "[counts]",
        *(f"{json.dumps(name)} = {counted}" for name, counted in counts.items()),
    ]
    BASELINE.write_text("\n".join(lines) + "\n")


def compare(counts: Counts, baseline: Counts) -> tuple[list[str], list[str]]:
    """What is wrong (a case grew, is new or is gone), and what shrank so far that the baseline should follow."""
    wrong = [f"{name}: is not in the baseline" for name in counts.keys() - baseline.keys()]
    wrong += [f"{name}: is in the baseline, and is no case any more" for name in baseline.keys() - counts.keys()]
    lower = []
    for name in counts.keys() & baseline.keys():
        was, now = baseline[name], counts[name]
        change = f"{name}: {was:,} -> {now:,} instructions ({now / was - 1:+.1%})"
        if now > was * (1 + ALLOWED):
            wrong.append(change)
        elif now < was * (1 - ALLOWED):
            lower.append(change)
    return sorted(wrong), sorted(lower)


def growth(counts: Counts) -> list[str]:
    """The policies whose step costs much more with 1,000 destinations than with 10: none should, but the one that looks
    at all of them."""
    wrong = []
    for name, few in counts.items():
        many = counts.get(name.replace(", 10 destinations", ", 1000 destinations"), few)
        if many > few * FLAT and not name.partition(", ")[2].startswith(LOOKS_AT_ALL):
            wrong.append(f"{name}: {few:,}, and {many:,} with 1000, more than {FLAT} times as many")
    return wrong


def check(counts: Counts) -> int:
    """Prints the comparison; the status to end with."""
    kept = tomllib.loads(BASELINE.read_text())
    width = max(map(len, counts))
    for name, counted in counts.items():
        was = kept["counts"].get(name)
        print(f"{name:{width}} {counted:>9,}" + (f" {counted / was - 1:+7.1%}" if was else "     new"))
    grown = growth(counts)
    if grown:
        print("\nMore than O(1):\n" + "\n".join(f"  {one}" for one in grown))
    wrong, lower = compare(counts, kept["counts"])
    if lower:
        print("\nFewer instructions than the baseline, by more than 5 %. Keep the gain: make instructions-baseline")
        print("\n".join(f"  {one}" for one in lower))
    if not wrong:
        return 1 if grown else 0
    print("\nMore instructions than the baseline allows (5 %), or other cases:")
    print("\n".join(f"  {one}" for one in wrong))
    if kept["rustc"] != toolchain():
        print(f"The baseline was counted with {kept['rustc']}, this is {toolchain()}: the compiler may be the cause.")
    print("If it is meant: make instructions-baseline, and say why in the commit.")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="make what is counted now the baseline")
    asked = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed, and instructions are counted with it: install it (apt-get install valgrind)")
        return 2
    executable = build()
    with tempfile.TemporaryDirectory() as directory:
        counts = count(executable, Path(directory))
    if asked.write:
        if grown := growth(counts):
            print("More than O(1), so the baseline stays:\n" + "\n".join(f"  {one}" for one in grown))
            return 1
        write(counts)
        print(f"{len(counts)} counts written to {BASELINE.relative_to(ROOT)}")
        return 0
    return check(counts)


if __name__ == "__main__":
    sys.exit(main())
