"""Two states of the project side by side: which files they have, and how to run them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

#: The top folder of the checkout that this file is in.
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def checkout(what: str | Path) -> Iterator[Path]:
    """The top folder of a state of the project.

    what: a folder, or a revision of this repository, whose files are written to a temporary
    folder. Raises ValueError where it is neither.
    """
    if Path(what).is_dir():
        yield Path(what).resolve()
        return
    packed = subprocess.run(
        ["git", "archive", "--format=tar", str(what)], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        raise ValueError(f"{what} is neither a folder nor a revision of this repository")
    with TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def environment(top: Path, scratch: Path) -> dict[str, str]:
    """The variables of a process that runs the package of the checkout `top`, with one thread.

    What is compiled is kept under `scratch`, so that nothing is written to the checkout.
    """
    return os.environ | {
        "PYTHONPATH": str(top / "src"),
        "PYTHONPYCACHEPREFIX": str(scratch / "pycache"),
        "NUMBA_CACHE_DIR": str(scratch / "numba"),
        "OMP_NUM_THREADS": "1",
    }


def source_hash(top: Path) -> str:
    """SHA-256 of the package's Python files in the checkout `top`, and of their paths."""
    found = hashlib.sha256()
    for path in sorted((top / "src").rglob("*.py")):
        found.update(f"{path.relative_to(top)}".encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
