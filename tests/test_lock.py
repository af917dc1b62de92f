"""The lock files pin every declared dependency, within its bounds and by hash."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / "requirements" / f"{name}.lock" for name in ("dev", "torch")]


def entries() -> Iterator[tuple[Requirement, list[str]]]:
    """Each pinned package and its hashes."""
    for file in FILES:
        for entry in re.split(r"\n(?=[^\s#])", file.read_text("utf-8"))[1:]:
            first, *hashes = [line.rstrip(" \\").strip() for line in entry.strip().split("\n")]
            yield Requirement(first), hashes


def declared() -> Iterator[Requirement]:
    """What pyproject.toml asks for in development, its own extras followed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    left, seen = [*project["dependencies"], *optional["dev"]], set[str]()
    while left:
        wanted = Requirement(left.pop())
        if wanted.name != project["name"]:
            yield wanted
            continue
        left += [one for extra in wanted.extras - seen for one in optional[extra]]
        seen |= wanted.extras


LOCKED = {canonicalize_name(found.name): found for found, _ in entries()}


@pytest.mark.parametrize("wanted", sorted(set(declared()), key=str), ids=str)
def test_a_declared_dependency_is_pinned_within_its_bounds(wanted: Requirement) -> None:
    pinned = LOCKED[canonicalize_name(wanted.name)]
    (exact,) = pinned.specifier
    assert exact.operator == "=="
    assert wanted.specifier.contains(exact.version), f"run `make lock`: {pinned}"


def test_every_entry_is_exact_and_has_hashes_and_no_place() -> None:
    for pinned, hashes in entries():
        assert pinned.url is None
        assert [each.operator for each in pinned.specifier] == ["=="], pinned
        assert hashes, pinned
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pinned
    assert not any("://" in file.read_text("utf-8") for file in FILES)


def test_what_is_installed_is_on_the_page_and_in_the_bill(tmp_path: Path) -> None:
    script = ROOT / "docs" / "_vendored.py"
    subprocess.run([sys.executable, script, "--check"], check=True)
    bill = tmp_path / "sbom.json"
    subprocess.run([sys.executable, script, "--sbom", bill], check=True)
    found = json.loads(bill.read_text())
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    parts = {one["name"]: one for one in found["components"]}
    assert len({one["bom-ref"] for one in parts.values()}) == len(found["components"])
    assert all(one["licenses"] and one["purl"] for one in parts.values())
    # What is under the GPL comes by extras that are asked for by name.
    gpl = {name for name, one in parts.items() if re.search(r"(?<!L)GPL-?v?2", json.dumps(one))}
    assert {tuple(p["value"] for p in parts[one]["properties"]) for one in gpl} <= {("video",)}


def test_torch_alone_stands_apart() -> None:
    dev, torch = (file.read_text("utf-8") for file in FILES)
    assert re.search(r"^torch==", torch, re.M)
    assert not re.search(r"^(torch|nvidia-|cuda-|triton)", dev, re.M)
