"""Write docs/vendored.md: what native code the wheels of adwright's dependencies bring with them.

    python docs/_vendored.py            write it, from what is installed
    python docs/_vendored.py --check    say which package is installed and not on the page, or which
                                        library of it; versions do not matter; exit with 1

Three sources, all in the wheels: the shared libraries, with the versions that they write into
themselves; bills of materials (CycloneDX), which some builds leave; and the licences of others.
Written in minutes, since all binaries are read; checked in a second.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "vendored.md"
EXTRAS = ("lm", "service", "delivery", "fast", "ray", "export")
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
    "usearch": "usearch (C++), SimSIMD",
    "xllamacpp": "llama.cpp and ggml",
    "pyarrow": "Arrow C++, Parquet C++",
    "torch": "ATen, oneDNN, XNNPACK, FBGEMM, sleef, protobuf",
    "vl-convert-python": "V8, by Deno",
}
HEAD = """# What the wheels bring along

A wheel with native code carries libraries that no other package manager updates: a flaw in one of
them is mended by a new release of the wheel. This is what is inside those that adwright's extras
install on Linux, read out of the wheels by `docs/_vendored.py`. Crates are Rust libraries that are
compiled in; their names and versions are in the wheel's bill of materials.

| package | version | shared libraries | inside, with the version if told | papers in the wheel |
|---|---|---|---|---|
"""


def packages() -> Iterator[Distribution]:
    """The installed packages that adwright and its extras need, and those that these need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    left = list(project["dependencies"])
    for extra in EXTRAS:
        left += project["optional-dependencies"][extra]
    seen = set[str]()
    while left:
        needed = left.pop()
        match = re.match(r"[\w.-]+", needed)
        name = re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
        # What an extra of a dependency would bring is followed for psycopg alone, which asks so.
        if name in seen or ("extra ==" in needed and "binary" not in needed):
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        yield found
        left += found.requires or []


Row = tuple[str, str, list[str], list[str], list[str]]


def rows(*, whole: bool = True) -> Iterator[Row]:
    """Name, version, shared libraries, what is inside, and papers, of packages with native code.

    whole: read the binaries, for what they say of themselves.
    """
    for found in sorted(packages(), key=lambda each: str(each.name).lower()):
        files = [Path(str(file)) for file in found.files or []]
        native = [file for file in files if re.search(r"\.(so|so\..+|pyd|dylib|dll)$", file.name)]
        if not native:
            continue
        inside = dict[str, None]()
        if str(found.name).lower() in STATED:
            inside[STATED[str(found.name).lower()]] = None
        for file in native if whole else ():
            inside |= dict.fromkeys(_marks(Path(str(found.locate_file(str(file))))))
        libraries = sorted({_plain(file.name) for file in native if _is_library(file)})
        papers = list(_papers(found, files))
        yield str(found.name), found.version, libraries, list(inside), papers


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
        f"| {name} | {version} | {', '.join(libraries) or '-'} | {', '.join(inside) or '-'} | "
        f"{', '.join(dict.fromkeys(papers)) or '-'} |"
        for name, version, libraries, inside, papers in rows()
    ]
    return HEAD + "\n".join(lines) + "\n"


def lacking(text: str) -> list[str]:
    """What is installed and not on the page, without a look at versions."""
    on_page = dict[str, set[str]]()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5:
            on_page[cells[0]] = set(cells[2].split(", "))
    found = []
    for name, _, libraries, _, _ in rows(whole=False):
        if name not in on_page:
            found.append(name)
        else:
            found += [f"{name}: {each}" for each in libraries if each not in on_page[name]]
    return found


def main() -> int:
    """Write or check; the exit code."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
        return 0
    missing = lacking(PAGE.read_text("utf-8"))
    sys.stderr.writelines(f"docs/vendored.md lacks {each}\n" for each in missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
