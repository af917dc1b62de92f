"""Which model decides for which tenant, and how a new one takes its place.

    ROOT/TENANT/current      one line: the name of the version that decides
    ROOT/TENANT/published.jsonl  when which version was let decide, and why; a line each
    ROOT/TENANT/VERSION/     an artifact
    ROOT/TENANT/serving.toml the policy, where it is not the usual one
    ROOT/TENANT/experiments.jsonl  which experiments were started and stopped

`publish` writes the pointer in one step. A thread looks at the contents of pointer, manifest and
settings, loads what is new, probes it with decisions that are not recorded, and only then puts
it in place: the next batch uses it. What cannot be loaded is refused and the old model goes on;
it is tried again when one of the three changes. Each of the three is a plain file: what is none,
or is larger than such a file can be, is refused and not read.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from adwright.core.artifacts import MANIFEST, MOST_MANIFEST_BYTES, read_manifest
from adwright.core.atomic import atomic_write_bytes, atomic_write_text
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import ArtifactError, ArtifactUnsafeError, ResourceError
from adwright.core.hashing import sha256_bytes
from adwright.core.regular import read_regular
from adwright.service.registry.deployed import Deployed, Observer, probe
from adwright.service.registry.experiments import JOURNAL as EXPERIMENTS
from adwright.web.turns import Watcher

POINTER, JOURNAL = "current", "published.jsonl"
#: The reason of a line of the journal that goes back.
BACK = "back"
SETTINGS = "serving.toml"
_MAX_NAME = 128
_MOST_POINTER, _MOST_SETTINGS = 4 << 10, 16 << 20
_log = logging.getLogger("adwright.service")

Load = Callable[[Path], Deployed]
Stored = Callable[[str, Observer], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class ModelStatus:
    """The model that decides for a tenant, and the one that was refused.

    deployed: None where nothing could be loaded yet. since: when it was put in place. refused,
    reason: name of a newer version that could not be loaded, and why; empty where there is none.
    """

    deployed: Deployed | None = None
    since: datetime | None = None
    refused: str = ""
    reason: str = ""


class FixedModels:
    """The models of all tenants. These never change: for tests, and for a service that is restarted
    to change them."""

    def __init__(self, models: Mapping[str, Deployed], clock: Clock) -> None:
        now = clock.now()
        # Readers take one reference: a swap is the replacement of an entry.
        self._statuses = {one: ModelStatus(deployed, since=now) for one, deployed in models.items()}

    def start(self) -> None:
        """Load what there is, and begin to watch; returns when the first look is done."""

    def stop(self) -> None:
        """Stop watching."""

    def status(self, tenant: str) -> ModelStatus | None:
        """The tenant's model; None where it never had one."""
        return self._statuses.get(tenant)

    def statuses(self) -> Mapping[str, ModelStatus]:
        """All of them, by tenant."""
        return dict(self._statuses)

    def tell(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Let the tenant's model take note of events that were stored, each once."""
        status = self._statuses.get(tenant)
        if status is not None and status.deployed is not None:
            status.deployed.tell(events)

    def hear(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Let the tenant's model take note of what other processes have stored."""
        status = self._statuses.get(tenant)
        if status is not None and status.deployed is not None:
            status.deployed.hear(events)

    def read_lately(self) -> Mapping[str, set[str]]:
        """tenant -> ids of the events that a model read from the store as it was loaded, until
        `forget_read` is called with them."""
        return {}

    def forget_read(self, lately: Mapping[str, set[str]]) -> None:
        """No more of these will be heard of."""


#: What decides for which tenant, fixed or not.
Models = FixedModels


class FolderModels(FixedModels):
    """Models in a folder, exchanged while the service runs.

    root: the folder, one folder per tenant in it; it may be empty or come later.
    load: builds the model of a version's folder; it must verify it, and may raise anything.
    stored: gives the events of a tenant that an observer of a model just loaded does not know
        yet; None where there are no observers. placed: told the tenant and the model that was put
        in place. seconds: between two looks.
    """

    def __init__(
        self,
        root: str | Path,
        load: Load,
        clock: Clock,
        *,
        stored: Stored | None = None,
        placed: Callable[[str, Deployed], None] = lambda _, __: None,
        seconds: float = 1.0,
    ) -> None:
        self._root = Path(root)
        self._load = load
        self._clock = clock
        self._stored = stored
        self._placed = placed
        self._seconds = seconds
        super().__init__({}, clock)
        self._seen: dict[str, str] = {}
        # Told while a model is being loaded, for that model.
        self._meanwhile: dict[str, list[Mapping[str, Any]]] = {}
        self._others: dict[str, list[Mapping[str, Any]]] = {}
        self._lately: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._watch = Watcher(self.look, "models", seconds)

    def start(self) -> None:
        """Load what there is, and begin to watch; returns when the first look is done."""
        self.look()
        self._watch.start()

    def stop(self) -> None:
        """Stop watching; a model that is being loaded is finished first."""
        self._watch.stop()

    def tell(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Let the tenant's model take note of events that were stored, each once."""
        with self._lock:
            if tenant in self._meanwhile:
                self._meanwhile[tenant].extend(events)
            super().tell(tenant, events)

    def hear(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Let the tenant's model take note of what other processes have stored."""
        with self._lock:
            read = self._lately.get(tenant, set())
            events = [one for one in events if one["event_id"] not in read]
            if tenant in self._others:
                self._others[tenant].extend(events)
            super().hear(tenant, events)

    def read_lately(self) -> Mapping[str, set[str]]:
        """See `FixedModels`."""
        with self._lock:
            return dict(self._lately)

    def forget_read(self, lately: Mapping[str, set[str]]) -> None:
        """See `FixedModels`."""
        with self._lock:
            for tenant, ids in lately.items():
                if self._lately.get(tenant) is ids:
                    del self._lately[tenant]

    def look(self) -> None:
        """Look once at every tenant's pointer, and load what is new."""
        try:
            tenants = sorted(path.name for path in self._root.iterdir() if path.is_dir())
        except OSError:
            tenants = []
        for tenant in tenants:
            if not tenant.startswith("."):
                try:
                    self._look_at(tenant)
                except Exception:
                    # What is wrong with one tenant's folder does not keep the others waiting.
                    _log.exception("the folder of tenant %s could not be looked at", tenant)

    def _look_at(self, tenant: str) -> None:
        folder = self._root / tenant
        pointer = _read(folder / POINTER, _MOST_POINTER)
        if pointer is None:
            return  # no version was published yet, or the pointer was taken away: the old goes on
        name = pointer.decode("utf-8", "replace").strip() if isinstance(pointer, bytes) else ""
        manifest = _read(folder / name / MANIFEST, MOST_MANIFEST_BYTES) if _is_name(name) else None
        # A configuration that is mounted into a container is a link to its present version.
        settings = _read(Path(os.path.realpath(folder / SETTINGS)), _MOST_SETTINGS)
        # Of an experiment: what was started, and the settings of its arms.
        beside = [folder / EXPERIMENTS, *sorted(folder.glob("*.toml"))]
        others = [_read(Path(os.path.realpath(one)), _MOST_SETTINGS) for one in beside]
        content = repr(
            [
                sha256_bytes(one) if isinstance(one, bytes) else str(one)
                for one in (pointer, manifest, settings, *others)
            ]
        )
        if self._seen.get(tenant) == content:
            return
        try:
            for one, file in ((pointer, POINTER), (settings, SETTINGS)):
                if isinstance(one, OSError):
                    raise ArtifactError(
                        f"{file} cannot be read: {one.strerror}",
                        where=f"{tenant}/{file}",
                        hint="write a plain file that the service may read",
                    ) from one
            deployed = self._loaded(folder, name)
            self._put_in_place(tenant, deployed)
            _log.info("the model %s decides for tenant %s", name, tenant)
            self._placed(tenant, deployed)
        except Exception as error:
            _log.error("the model %s of tenant %s is refused: %s", name[:_MAX_NAME], tenant, error)
            before = self._statuses.get(tenant, ModelStatus())
            reason = f"{type(error).__name__}: {error}"[:500]
            refused = name[:_MAX_NAME] or (
                "(empty)" if isinstance(pointer, bytes) else "(unreadable)"
            )
            self._statuses[tenant] = replace(before, refused=refused, reason=reason)
        self._seen[tenant] = content

    def _put_in_place(self, tenant: str, deployed: Deployed) -> None:
        """Tell the model what was stored since it was made, each event once, and let it decide.

        What is stored in this moment is read from the store, told meanwhile, or both.
        """
        with self._lock:
            self._meanwhile[tenant], self._others[tenant] = [], []
        try:
            told = [(observer, self._told(tenant, observer)) for observer in deployed.observers]
            with self._lock:
                meanwhile = self._meanwhile[tenant]
                for observer, known in told:
                    others = self._others[tenant] if observer.shared else []
                    new = [one for one in (*meanwhile, *others) if one["event_id"] not in known]
                    observer.tell(new)
                    if observer.shared:
                        self._lately[tenant] = self._lately.get(tenant, set()) | known
                self._statuses[tenant] = ModelStatus(deployed, since=self._clock.now())
        finally:
            with self._lock:
                del self._meanwhile[tenant], self._others[tenant]

    def _told(self, tenant: str, observer: Observer) -> set[str]:
        """Tell an observer what was stored; the ids of these events."""
        if self._stored is None:
            return set()
        events = self._stored(tenant, observer)
        observer.tell(events)
        return {event["event_id"] for event in events}

    def _loaded(self, folder: Path, name: str) -> Deployed:
        target = folder / checked_name(name, folder)
        if target.is_symlink() or not target.is_dir():
            raise ArtifactError(
                "the pointer names a version that is not there",
                where=f"{folder.name}/{POINTER}",
                hint="copy the version's folder first, then write the pointer",
            )
        deployed = self._load(target)
        probe(deployed, self._clock)
        return deployed


def publish(
    root: str | Path, tenant: str, name: str, *, why: str = "", clock: Clock | None = None
) -> None:
    """Let version `name` of `tenant` decide: write a line of published.jsonl and then, in one step,
    the pointer; without the one there is not the other.

    The version's folder must lie in ROOT/TENANT already. Running services load it within
    `poll_seconds`, and go on with the old one where they cannot. why: in words; "back" for a way
    back. clock: the machine's own by default.

    Raises ArtifactUnsafeError for a name that leaves the folder, ArtifactError where the folder
    holds no artifact, ResourceError where one of the two cannot be written, or published.jsonl
    cannot be read.
    """
    folder = Path(root) / checked_name(tenant, Path(root))
    if not (folder / checked_name(name, folder) / MANIFEST).is_file():
        raise ArtifactError(
            "there is no artifact to publish",
            where=str(folder / name),
            hint="copy the version's folder there first",
        )
    before, journal = _text(folder / POINTER).strip(), folder / JOURNAL
    now, past = (clock or SystemClock()).now(), _journal(journal)
    told = {"time": now.isoformat(), "version": name, "before": before, "why": why}
    atomic_write_bytes(journal, past + json.dumps(told).encode() + b"\n")
    try:
        atomic_write_text(folder / POINTER, name + "\n")
    except BaseException:
        if _text(folder / POINTER).strip() != name:
            atomic_write_bytes(journal, past)
        raise


def version_before(root: str | Path, tenant: str) -> str:
    """The version that decided before the present one; who went back, goes back further.

    Raises ArtifactError where published.jsonl names none, ResourceError where it cannot be read.
    """
    path = Path(root) / checked_name(tenant, Path(root)) / JOURNAL
    stack = list[str]()
    try:
        for line in _journal(path).decode("utf-8", "replace").splitlines():
            told = json.loads(line)
            if told["why"] == BACK:
                stack.pop()
                continue
            names = [told["before"], told["version"]] if not stack else [told["version"]]
            stack += [one for one in names if one and one != (stack or [""])[-1]]
    except (ValueError, LookupError, TypeError) as error:
        raise ArtifactError(
            f"the line {line!r:.80} is none of those that adwright writes",
            where=str(path),
            hint=f"name a version: adwright publish {path.parent}/VERSION",
        ) from error
    if len(stack) < 2:
        raise ArtifactError(
            "no version is known that decided before",
            where=str(path),
            hint=f"name one: adwright publish {path.parent}/VERSION",
        )
    return stack[-2]


def _text(path: Path) -> str:
    found = _read(path, _MOST_SETTINGS)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else ""


def _journal(path: Path) -> bytes:
    """What published.jsonl holds: what cannot be read is not written again, as that loses it."""
    found = _read(path, _MOST_SETTINGS)
    if isinstance(found, OSError):
        raise ResourceError(
            f"what was published cannot be read: {found.strerror}",
            where=str(path),
            hint="mend the file, or move it away: without it no way back is known",
        ) from found
    return found or b""


def _read(path: Path, most: int) -> bytes | OSError | None:
    """The bytes of a file, or why they cannot be read; None where there is no file."""
    try:
        return read_regular(path, most=most)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error


def _is_name(name: str) -> bool:
    """Whether it is one visible part of a path."""
    plain = name.isprintable() and not any(character in name for character in "/\\:")
    return 0 < len(name) <= _MAX_NAME and plain and not name.startswith(".") and name != POINTER


def checked_name(name: str, folder: Path) -> str:
    """The name; ArtifactUnsafeError where it is no single visible part of a path below `folder`."""
    if not _is_name(name):
        raise ArtifactUnsafeError(
            f"{name[:_MAX_NAME]!r} is no name of a folder",
            where=str(folder),
            hint="use one name without slashes that does not begin with a dot",
        )
    return name


# --------------------------------------------------------------------------------------------------
# What lies in a folder of models, without loading it: for the start of a service, and for who
# looks at a store.


@dataclass(frozen=True)
class TenantModels:
    """The folder of a tenant.

    current: the version that decides; empty where none was published. kinds: version -> kind of
    model, empty for one that cannot be read. settings: whether it has a policy of its own.
    """

    tenant: str
    current: str
    kinds: Mapping[str, str]
    settings: bool

    def line(self) -> str:
        """In words: what decides, and what else is there."""
        if not self.current:
            return f"{self.tenant}: nothing is published ({len(self.kinds)} versions)"
        kind = self.kinds.get(self.current) or "missing"
        policy = ", policy of serving.toml" if self.settings else ""
        others = [name for name in self.kinds if name != self.current]
        more = f"; also there: {', '.join(others)}" if others else ""
        return f"{self.tenant}: {self.current} ({kind}{policy}) decides{more}"


def inventory(root: str | Path) -> list[TenantModels]:
    """The tenants of a folder of models, by name; none where the folder is not there."""
    try:
        tenants = sorted(path for path in Path(root).iterdir() if path.is_dir())
    except OSError:
        return []
    return [_tenant(path) for path in tenants if not path.name.startswith(".")]


def _tenant(folder: Path) -> TenantModels:
    try:
        current = (folder / POINTER).read_text("utf-8").strip()
    except (OSError, ValueError):
        current = ""
    versions = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    kinds = {path.name: _kind(path) for path in versions if not path.name.startswith(".")}
    return TenantModels(folder.name, current, kinds, (folder / SETTINGS).exists())


def _kind(folder: Path) -> str:
    try:
        return read_manifest(folder)[1].kind
    except ArtifactError:
        return ""
