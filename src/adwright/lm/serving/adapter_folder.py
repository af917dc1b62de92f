"""A folder of adapters, one in each sub-folder, kept in step with what is served.

The name of a sub-folder is the name of its adapter, which lies in it, or in its `tuned`, where
`adwright tune` writes it. `rescan` adds what is new, takes away what is
gone, and loads anew those whose manifest has changed. What cannot be served is reported, not
raised: one wrong folder does not stop the others. `load` and `unload` change one of them alone.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    AssetError,
    ConfigError,
    ResourceError,
)
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.torch_engine.config import PagedConfig, TorchConfig
from adwright.lm.torch_engine.model import load_causal
from adwright.lm.torch_engine.network import tuned_folder

#: How long a scan waits for one that is under way.
_SCAN_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Scanned:
    """What a scan changed. refused: why, by name; an adapter in use is tried again next time."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)


class AdapterFolder:
    """Serves the adapters in `top`; those that others added to the models are left alone.

    Raises ConfigError where `top` is no folder.
    """

    def __init__(self, models: AdapterModels, top: str | Path) -> None:
        self._models, self._top = models, Path(top)
        self._lock = threading.Lock()
        self._stamps: dict[str, tuple[int, int]] = {}
        #: Of those that `unload` took away, and that no scan brings back as they are.
        self._away: dict[str, tuple[int, int]] = {}
        if not self._top.is_dir():
            raise ConfigError("there is no such folder", where=str(top), hint="name another")

    def rescan(self) -> Scanned:
        """Bring what is served in step with the folder. From any thread.

        Raises ResourceError where another scan has not ended after some seconds.
        """
        with self._held():
            return self._scan()

    def load(self, name: str, path: str) -> None:
        """Serve one adapter under a name. path: of its folder, relative to the top or whole; links
        are followed, and it lies below the top in any case. From any thread.

        Raises ConfigError where the name is taken or none, or the path leads elsewhere; AssetError
        where there is no such folder; ArtifactError where it cannot be read; and as
        `AdapterModels.add` and `rescan`.
        """
        with self._held():
            _require_name(name)
            folder = self._below(path)
            try:
                stamp = _stamp(folder)
                self._models.add(name, tuned_folder(folder))
            except OSError as error:
                raise ArtifactError(_told(error), where=path) from error
            self._away.pop(name, None)
            if folder == self._top.resolve() / name:
                self._stamps[name] = stamp

    def unload(self, name: str) -> None:
        """Take one adapter away; a scan brings it back where its folder has changed. From any
        thread. Raises as `AdapterModels.remove` and `rescan`."""
        with self._held():
            self._models.remove(name)
            stamp = self._stamps.pop(name, None)
            if stamp is not None:
                self._away[name] = stamp

    @contextmanager
    def _held(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_SCAN_SECONDS):
            raise ResourceError(
                "another scan of the folder has not ended", where=str(self._top), hint="ask later"
            )
        try:
            yield
        finally:
            self._lock.release()

    def _below(self, path: str) -> Path:
        """The folder that `path` names. What lies elsewhere is not looked at."""
        try:
            top = self._top.resolve()
            folder = (top / path).resolve()
            inside = folder != top and folder.is_relative_to(top)
            if inside and not folder.is_dir():
                raise AssetError(
                    "there is no such folder of an adapter", hint="name one below --adapters"
                )
            inside = inside and tuned_folder(folder).resolve().is_relative_to(top)
        except (OSError, RuntimeError, ValueError):  # too long, links in a ring, half a character
            inside = False
        if not inside:
            raise ConfigError(
                "the path leads out of the folder of adapters", hint="name a folder below it"
            )
        return folder

    def _scan(self) -> Scanned:
        found, refused = self._found()
        removed = []
        for name, stamp in list(self._stamps.items()):
            # A folder that cannot be read counts as unchanged.
            if name not in refused and found.get(name) != stamp:
                try:
                    self._models.remove(name)
                except AdwrightError as error:
                    refused[name] = error.what
                    continue
                del self._stamps[name]
                if name not in found:
                    removed.append(name)
        added = []
        for name, stamp in found.items():
            if name in self._stamps or self._away.get(name) == stamp:
                continue
            try:
                _require_name(name)
                self._models.add(name, tuned_folder(self._top / name))
            except AdwrightError as error:
                refused[name] = f"{error.what}; {error.hint}" if error.hint else error.what
            except OSError as error:
                refused[name] = _told(error)
            else:
                self._stamps[name] = stamp
                added.append(name)
        return Scanned(tuple(added), tuple(removed), refused)

    def _found(self) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        """Sub-folders by name, with time and size of the manifest; and why some cannot be read."""
        found, refused = {}, {}
        for folder in sorted(self._top.iterdir()):
            try:
                if folder.is_dir() and not folder.name.startswith("."):
                    found[folder.name] = _stamp(folder)
            except OSError as error:
                refused[folder.name] = _told(error)
        return found, refused


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError("the name has other signs than letters, digits, _ . -")


def _stamp(folder: Path) -> tuple[int, int]:
    """Time and size of the manifest. Raises OSError where it cannot be looked at."""
    manifest = tuned_folder(folder) / "manifest.json"
    state = manifest.stat() if manifest.exists() else None
    if state is not None and not S_ISREG(state.st_mode):
        raise OSError("its manifest is no regular file")
    return (state.st_mtime_ns, state.st_size) if state else (0, 0)


def _told(error: OSError) -> str:
    return f"the folder cannot be read: {error.strerror or error}"


def open_base(config: TorchConfig, serving: ServingConfig, *, name: str = "") -> AdapterModels:
    """Open the models over the base that `config` names; its adapters are added afterwards.

    name: of the base for callers, by default that of the model. Errors as `TorchModel.open`, and
    ConfigError as `AdapterModels`.
    """
    model, tokens, note = load_causal(config)
    return AdapterModels(model, tokens, name=name or config.model, note=note, config=serving)


def open_paged(config: PagedConfig) -> LanguageModel:
    """Open the base, or the base with the adapter that `config` names, as the only model of its
    engine, which is closed with it. Errors as `open_base` and `AdapterModels.add`."""
    models = open_base(config, ServingConfig(rows=config.rows))
    try:
        name = models.name
        if config.adapter:
            name = f"{Path(config.adapter).name or 'adapter'} (adapter)"
            models.add(name, tuned_folder(Path(config.adapter)))
        model = models[name]
    except BaseException:
        models.close()
        raise
    model.on_close = models.close
    return model
