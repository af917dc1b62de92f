"""Builds one virtual environment for each peer library, with pinned requirements.

The peers contradict each other and us (RecBole needs NumPy below 2, FuxiCTR needs a recent Ray),
so each gets its own folder, `CACHE/peers/NAME`, and shares nothing with the others. Each but
implicit installs torch itself: on disk that costs about a gigabyte a peer, and it keeps every
peer's own pins.

An environment is complete when `adwright-peer.json` lies in it, which is written last and names
the requirements. A folder without it, or with other requirements, is built again.

    python -m benchmarks.peers.environments            # all peers
    python -m benchmarks.peers.environments recbole    # one
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

PeerName = Literal[
    "fuxictr", "deepctr", "recbole", "rechub", "rectools", "implicit", "survival", "nanogcg"
]
#: Those whose DIN is compared; of rectools the sequential models are
#: (sequential/_peers.py), of implicit the item-item models (delivery/item_item.py).
PEERS: tuple[PeerName, ...] = ("fuxictr", "deepctr", "recbole", "rechub")

# A range and no pin: whichever build of torch the machine's own pip configuration prefers.
TORCH = "torch>=2.9,<2.14"
# The runners read Parquet with pyarrow in every environment, also where the library does not.
COMMON = (TORCH, "pyarrow==21.0.0", "setuptools==80.9.0")

REQUIREMENTS: dict[PeerName, tuple[str, ...]] = {
    # ray is imported by fuxictr's loaders (2.52 is its own lower bound); we never start it.
    "fuxictr": (
        *COMMON,
        "fuxictr==2.3.10",
        "numpy==2.2.6",
        "pandas==2.3.3",
        "scikit-learn==1.7.2",
        "polars==1.35.2",
        "ray[data]==2.52.1",
        "pyyaml==6.0.3",
        "h5py==3.15.1",
        "tqdm==4.67.1",
        "pydantic==2.12.4",
    ),
    "deepctr": (
        *COMMON,
        "deepctr-torch==0.3.0",
        "numpy==2.2.6",
        "scikit-learn==1.7.2",
        "tqdm==4.67.1",
    ),
    # NumPy below 2: RecBole restores np.float and its like from np.float_, which NumPy 2 dropped.
    # setuptools (above) keeps pkg_resources, which ray 2.6 and tensorboard import.
    "recbole": (
        *COMMON,
        "recbole==1.2.1",
        "numpy==1.26.4",
        "scipy==1.14.1",
        "pandas==2.2.3",
        "scikit-learn==1.5.2",
        "ray==2.6.3",
    ),
    "rechub": (
        *COMMON,
        "torch-rechub==0.9.0",
        "numpy==2.2.6",
        "pandas==2.3.3",
        "scikit-learn==1.7.2",
        "tqdm==4.67.1",
    ),
    "rectools": (
        *COMMON,
        "rectools[torch]==0.19.0",
        "numpy==1.26.4",
        "scipy==1.17.1",
        "pandas==2.3.3",
        "pytorch-lightning==2.5.2",
        "torchmetrics==1.9.0",
    ),
    "implicit": ("implicit==0.7.3", "numpy==2.2.6", "scipy==1.15.3"),
    # transformers as nanogcg itself bounds it: its prefix cache breaks with later ones.
    "nanogcg": (
        *COMMON,
        "nanogcg==0.3.0",
        "transformers==4.47.1",
        "numpy==2.2.6",
        "scipy==1.15.3",
    ),
    # SciPy below 1.14: pycox integrates by `simps`, which 1.14 dropped.
    "survival": (
        *COMMON,
        "pycox==0.3.0",
        "torchtuples==0.2.2",
        "torchsurv==0.1.5",
        "lifelines==0.30.0",
        "scikit-survival==0.23.1",
        "scikit-learn==1.5.2",
        "numpy==1.26.4",
        "scipy==1.13.1",
        "pandas==2.2.3",
    ),
}
_MARKER = "adwright-peer.json"


def cache_folder() -> Path:
    """The folder of all peers: `$ADWRIGHT_CACHE/peers`, by default `~/.cache/adwright/peers`."""
    cache = os.environ.get("ADWRIGHT_CACHE")
    return (Path(cache) if cache else Path.home() / ".cache" / "adwright") / "peers"


def python_of(folder: Path) -> Path:
    """The interpreter of the environment in `folder`."""
    return folder / "bin" / "python"


def is_ready(name: PeerName, folder: Path) -> bool:
    """Whether `folder` holds a complete environment of `name` with today's requirements."""
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(marker == _marker(name)) and python_of(folder).exists()


def build(name: PeerName, *, folder: Path | None = None, rebuild: bool = False) -> Path:
    """Return the interpreter of the peer's environment, building it where it is missing.

    `folder` holds the environment, by default `cache_folder() / name`; it is deleted and made anew
    where it is incomplete, has other requirements, or `rebuild` is set. Two processes that build
    the same peer wait for each other. Raises `subprocess.CalledProcessError` where pip fails; its
    output has then been shown.
    """
    target = cache_folder() / name if folder is None else folder
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / f".{target.name}.lock"):
        if rebuild or not is_ready(name, target):
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
            pip = [str(python_of(target)), "-m", "pip", "install", "--quiet", "--no-compile"]
            subprocess.run([*pip, *REQUIREMENTS[name]], check=True)
            text = json.dumps(_marker(name), indent=2)
            (target / _MARKER).write_text(text, encoding="utf-8")
    return python_of(target)


def _marker(name: PeerName) -> dict[str, object]:
    return {"peer": name, "requirements": list(REQUIREMENTS[name])}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Build the environments named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description="Build the environments of the peer libraries.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(get_args(PeerName))}; or all"
    )
    parser.add_argument("--rebuild", action="store_true", help="delete and build again")
    arguments = parser.parse_args()
    known: tuple[PeerName, ...] = get_args(PeerName)
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"unknown peers {sorted(unknown)}; known are {', '.join(known)}")
    for name in known:
        if not arguments.names or name in arguments.names:
            print(name, build(name, rebuild=arguments.rebuild), flush=True)


if __name__ == "__main__":
    main()
