"""Packages that only one application needs, in a folder of their own.

    folder = packages("oscar")

Django and its like are nothing that adwright needs: each application gets a folder in the cache,
which goes before everything else on the path of its process alone. pip fills it once, or npm where
an application is one of Node.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from adwright.core.assets import derived
from adwright.core.errors import AssetError
from adwright.core.hashing import content_hash

PackagesOf = Literal[
    "oscar",
    "sqladmin",
    "miniwob",
    "mezzanine",
    "otterwiki",
    "wagtail",
    "fava",
    "radicale",
    "tiddlywiki",
]

#: What pip or npm installs, pinned; and whether pip installs what these need in turn.
REQUIREMENTS: dict[PackagesOf, tuple[tuple[str, ...], bool]] = {
    "oscar": (("django-oscar==4.2.1", "django==5.2.19"), True),
    # What else it needs is what adwright's console needs too.
    "sqladmin": (
        ("sqladmin==0.32.0", "wtforms==3.2.2", "python-multipart==0.0.34", "itsdangerous==2.2.0"),
        False,
    ),
    # Pages only: its own code, which needs a browser's driver of another kind, is not run.
    "miniwob": (("miniwob==1.1.0",), False),
    "mezzanine": (("mezzanine==6.1.1", "django==4.2.30"), True),
    "otterwiki": (("otterwiki==2.26.1",), True),
    "wagtail": (("wagtail==8.0.1", "django==5.2.19"), True),
    "fava": (("fava==1.30.16", "beancount==3.2.3"), True),
    "radicale": (("radicale==3.9.0",), True),
    "tiddlywiki": (("tiddlywiki@5.4.1",), True),
}
_BY_NPM: frozenset[PackagesOf] = frozenset(("tiddlywiki",))


def packages(name: PackagesOf) -> Path:
    """The folder of the application's packages, made by pip or npm where it is missing.

    Raises AssetError where that fails, with the last thing that it said.
    """
    requirements, whole = REQUIREMENTS[name]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = content_hash([*requirements, str(whole), version])[:12]

    def make(folder: Path) -> None:
        if name in _BY_NPM:
            # A link in .bin is no plain file, which is all that the cache keeps.
            command = ["npm", "install", "--silent", "--no-bin-links", "--prefix", str(folder)]
        else:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
            command += ["--disable-pip-version-check", "--no-input", "--target", str(folder)]
            command += [] if whole else ["--no-deps"]
        _install([*command, *requirements], requirements, "npm" if name in _BY_NPM else "pip")

    return derived(f"apps-{name}-{key}", make)


def _install(command: list[str], requirements: tuple[str, ...], by: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        code, said = done.returncode, done.stderr.strip().splitlines() or ["it said nothing"]
    except FileNotFoundError:
        code, said = 127, ["there is no such command"]
    if code:
        raise AssetError(
            f"{by} could not install it: {said[-1]}",
            where=" ".join(requirements),
            hint=f"look at {by}'s index and the network",
        )


def environment_with(*folders: Path) -> dict[str, str]:
    """The variables of a process that finds modules in `folders` before all others."""
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*map(str, folders), *([before] if before else [])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
