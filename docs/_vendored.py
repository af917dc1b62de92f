"""Write docs/vendored.md: what native code the wheels of adwright's dependencies bring with them.

    python docs/_vendored.py               write it, from what is installed
    python docs/_vendored.py --check       say which package is installed and not on the page, or
                                           which library of the page's release; exit with 1
    python docs/_vendored.py --sbom FILE   write all packages, also those without native code, as a
                                           bill of materials (CycloneDX 1.6, JSON)

Three sources, all in the wheels: the shared libraries, with the versions that they write into
themselves; bills of materials (CycloneDX), which some builds leave; and the licences of others.
Written in minutes, since all binaries are read; checked in a second.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "vendored.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
#: Licences of libraries inside, by what their files begin with; that of the wheel is another.
INSIDE = {
    "libavcodec": "FFmpeg, LGPL",
    "libx264": "x264, GPL-2.0-or-later",
    "libx265": "x265, GPL-2.0-or-later",
    "libgfortran": "GCC's, GPL-3.0 with exception",
    "libgnutls": "GnuTLS, LGPL-2.1-or-later",
    "libgeos": "GEOS, LGPL-2.1-or-later",
    "libreadline": "readline, GPL-3.0-or-later",
}
#: Name of a library as it names itself in its code, and what stands before its version there.
MARKS = {
    "OpenBLAS": rb"OpenBLAS (\d+\.\d+\.\d+)",
    "OpenSSL": rb"OpenSSL (\d+\.\d+\.\d+[a-z]?) ",
    "zlib": rb"inflate (\d+\.\d+(?:\.\d+)+) Copyright",
    "zstd": rb"\*\*\* zstd (\d+\.\d+\.\d+)",
    "libcurl": rb"libcurl/(\d+\.\d+\.\d+)",
    "LLVM": rb"LLVM version (\d+\.\d+\.\d+)",
    "oneDNN": rb"oneDNN v(\d+\.\d+\.\d+)",
    "PostgreSQL": rb"PostgreSQL (\d+\.\d+)",
    "Kerberos 5": rb"krb5-(\d+\.\d+(?:\.\d+)?)",
    "jemalloc": rb"jemalloc[ -](\d+\.\d+\.\d+)",
    "libuv": rb"libuv[ /-]v?(\d+\.\d+\.\d+)",
}
#: Known from the projects' own documents; a library linked in leaves no name behind.
STATED = {
    "faiss-cpu": "faiss",
    "httptools": "llhttp, http-parser",
    "llguidance": "derivre and toktrie (Rust)",
    "llvmlite": "LLVM",
    "uvloop": "libuv",
    "xllamacpp": "llama.cpp and ggml",
    "pyarrow": "Arrow C++, Parquet C++",
    "torch": "ATen, oneDNN, XNNPACK, FBGEMM, sleef, protobuf",
    "vl-convert-python": "V8, by Deno",
}
HEAD = """# What the wheels bring along

A wheel with native code carries libraries that no other package manager updates: a flaw in one of
them is mended by a new release of the wheel. This is what is inside those that adwright's extras
install on Linux, read out of the wheels by `docs/_vendored.py`. Crates are Rust libraries that are
compiled in; their names and versions are in the wheel's bill of materials. `python
docs/_vendored.py --sbom FILE` (`make sbom`) writes all packages, native or not, as CycloneDX.

**Under the GPL** is what the extra `video` brings: the wheel of PyAV holds x264 and x265. No other
extra brings it, and `all` leaves it out. The extra `ray` names what Ray Serve needs without HAProxy
(GPL-2.0), which `ray[serve]` would install and Ray starts only where it is told to.

By: the extra that brings it, `-` for what adwright always needs, dev for what tests alone need; the
PostgreSQL of the tests holds readline (GPL-3.0-or-later).

| package | version | by | licence | shared libraries | inside, as it says | papers in it |
|---|---|---|---|---|---|---|
"""


def packages() -> dict[str, tuple[Distribution, list[str]]]:
    """By name, the installed packages that adwright and its extras need, and those that these need:
    each with the extras that bring it."""
    wanted = {"-": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    by: Mapping[str, set[str]] = defaultdict(set)
    found: dict[str, Distribution] = {}
    for extra, lines in wanted.items():
        left = [(Requirement(one), frozenset[str]()) for one in lines]
        seen = set[tuple[str, frozenset[str]]]()
        while left:
            needed, asked = left.pop()
            name, extras = canonicalize_name(needed.name), frozenset(needed.extras)
            applies = not needed.marker or any(
                needed.marker.evaluate({"extra": one}) for one in asked or ("",)
            )
            if name == "adwright" or not applies or (name, extras) in seen:
                continue
            seen.add((name, extras))
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:
                continue
            by[name].add(extra)
            left += [(Requirement(one), extras) for one in found[name].requires or []]
    return {name: (one, _bringers(by[name])) for name, one in sorted(found.items())}


def _bringers(extras: set[str]) -> list[str]:
    """The extras that are to be named: tests alone have dev, and what is always there has none."""
    return ["-"] if "-" in extras else sorted(extras - {"dev"}) or ["dev"]


def licence(found: Distribution) -> str:
    """As the package says it: the expression, a short text, or the classifiers."""
    told = found.metadata.get("License-Expression") or found.metadata.get("License") or ""
    classes = [one.rpartition(" :: ")[2] for one in found.metadata.get_all("Classifier") or []
               if one.startswith("License ::")]  # fmt: skip
    short = told.strip() if len(told) <= 80 and "\n" not in told.strip() else ""
    return short or ", ".join(classes) or "see its files"


Row = tuple[str, str, str, str, list[str], list[str], list[str]]


def rows(*, whole: bool = True) -> Iterator[Row]:
    """Name, version, extras, licence, shared libraries, what is inside, and papers, of packages
    with native code.

    whole: read the binaries, for what they say of themselves.
    """
    for name, (found, extras) in packages().items():
        files = [Path(str(file)) for file in found.files or []]
        native = [file for file in files if re.search(r"\.(so|so\..+|pyd|dylib|dll)$", file.name)]
        # A program of its own is native code, too.
        native += [file for file in files if whole and _is_program(found, file)]
        if not native:
            continue
        libraries = sorted({_plain(file.name) for file in native if _is_library(file)})
        inside = dict.fromkeys(told for own, told in INSIDE.items() if own in libraries)
        if name in STATED:
            inside[STATED[name]] = None
        for file in native if whole else ():
            inside |= dict.fromkeys(_marks(Path(str(found.locate_file(str(file))))))
        papers = list(_papers(found, files))
        by = ", ".join(extras)
        yield str(found.name), found.version, by, licence(found), libraries, list(inside), papers


def bill() -> dict[str, object]:
    """All packages and the libraries inside them as CycloneDX has it."""
    inside = {canonicalize_name(row[0]): row[4] for row in rows(whole=False)}
    parts = []
    for name, (found, extras) in packages().items():
        part: dict[str, object] = {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{found.version}",
            "name": str(found.name),
            "version": found.version,
            "purl": f"pkg:pypi/{name}@{found.version}",
            "licenses": [_licence_entry(found)],
            "properties": [{"name": "adwright:extra", "value": one} for one in extras],
        }
        if inside.get(name):
            part["components"] = [
                {"type": "library", "name": one}
                | ({"licenses": [{"license": {"name": INSIDE[one]}}]} if one in INSIDE else {})
                for one in inside[name]
            ]
        parts.append(part)
    ours = {"type": "application", "name": "adwright", "licenses": [{"expression": "Apache-2.0"}]}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours},
        "components": parts,
    }


def _licence_entry(found: Distribution) -> dict[str, object]:
    expression = found.metadata.get("License-Expression")
    return {"expression": expression} if expression else {"license": {"name": licence(found)}}


def _is_program(found: Distribution, file: Path) -> bool:
    """Whether it is a program of ELF; only what has no ending may be one."""
    if file.suffix or file.name.isupper():
        return False
    with suppress(OSError), open(str(found.locate_file(str(file))), "rb") as stream:
        return stream.read(4) == b"\x7fELF"
    return False


def _is_library(file: Path) -> bool:
    """Whether it is a library of others, and no module of Python."""
    return file.name.startswith("lib") or ".libs" in str(file.parent)


def _plain(name: str) -> str:
    """libpq-e9b5c9ac.so.5.18 as libpq: what stands behind is of the build."""
    return re.sub(r"(-r\d+)?(-[0-9a-f]{8})*(\.\d+)*\.(so|dll|dylib|cpython).*", "", name)


def _marks(path: Path) -> Iterator[str]:
    data = path.read_bytes()
    for name, pattern in MARKS.items():
        if versions := sorted(set(re.findall(pattern, data))):
            yield f"{name} {', '.join(each.decode() for each in versions)}"


def _papers(found: Distribution, files: list[Path]) -> Iterator[str]:
    for file in files:
        if "sboms" in file.parts and file.suffix == ".json":
            bill = json.loads(Path(str(found.locate_file(str(file)))).read_text("utf-8"))
            parts = bill.get("components", [])
            crates = sum(str(part.get("purl", "")).startswith("pkg:cargo") for part in parts)
            if crates:
                yield f"{crates} crates"
            named = [f"{p['name']} {p.get('version', '')}" for p in parts if _is_system(p)]
            yield from named
        elif re.search(r"third.?part", file.name, re.IGNORECASE):
            yield file.name


def _is_system(part: dict[str, object]) -> bool:
    return str(part.get("purl", "")).startswith(("pkg:rpm", "pkg:deb", "pkg:apk"))


def page() -> str:
    """The whole page."""
    lines = [
        f"| {name} | {version} | {by} | {terms} | {', '.join(libraries) or '-'} | "
        f"{', '.join(inside) or '-'} | {', '.join(dict.fromkeys(papers)) or '-'} |"
        for name, version, by, terms, libraries, inside, papers in rows()
    ]
    return HEAD + "\n".join(lines) + "\n"


def lacking(text: str) -> list[str]:
    """What is installed and not on the page. Of another release than the page's, only libraries of
    terms that are to be known: a release of others must not fail a build of ours."""
    on_page = dict[str, tuple[str, set[str]]]()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7:
            on_page[cells[0]] = cells[1], set(cells[4].split(", "))
    found = []
    for name, version, _, _, libraries, _, _ in rows(whole=False):
        if name not in on_page:
            found.append(name)
            continue
        known, listed = on_page[name]
        asked = [one for one in libraries if version == known or one.startswith(tuple(INSIDE))]
        found += [f"{name}: {each}" for each in asked if each not in listed]
    return found


def main() -> int:
    """Write or check; the exit code."""
    if "--sbom" in sys.argv:
        Path(sys.argv[sys.argv.index("--sbom") + 1]).write_text(json.dumps(bill(), indent=1) + "\n")
        return 0
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
        return 0
    missing = lacking(PAGE.read_text("utf-8"))
    sys.stderr.writelines(f"docs/vendored.md lacks {each}\n" for each in missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
