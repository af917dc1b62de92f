"""Adapters that no batch holds: each is a network of its own over the weights of the one base.

They compute in turns: one token of one of them at a time, beside the passes of the batch. A network
is made when it is first asked for, and the least recently used ones are dropped when their own
tensors (what the adapter adds, and copies of what it trained of the base) exceed a bound; the last
one stays. The folder is then read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adwright.core.errors import ConfigError
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import Network
from adwright.lm.torch_engine.tuned_network import network_of, tuned_over
from adwright.tuning.storage import read_tuned

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["AloneAdapters", "AloneModel", "AloneState"]


@dataclass(frozen=True)
class AloneState:
    """One adapter. bytes: of its own tensors, 0 where it is on disk alone. hits: calls that found
    it in memory. loads: times that it was read."""

    name: str
    method: str
    bytes: int
    hits: int
    loads: int


@dataclass
class _Entry:
    folder: Path
    method: str
    model: AloneModel
    bytes: int = 0
    hits: int = 0
    loads: int = 0


class AloneAdapters:
    """The adapters of one base that are served alone. base: plain, in eval mode; its weights are
    shared and never written to. most_bytes: see the module. All methods are safe from any thread.
    """

    def __init__(
        self, base: PreTrainedModel, tokens: HuggingFaceTokens, most_bytes: int, note: str = ""
    ) -> None:
        self._base, self._tokens, self._most, self._note = base, tokens, most_bytes, note
        self._known: dict[str, _Entry] = {}
        #: Least recently used first.
        self._made: OrderedDict[str, Network] = OrderedDict()
        self._loading = threading.Lock()
        self.turn = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Registered adapters, in the order they came."""
        return tuple(self._known.copy())

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> AloneModel:
        """The model with that adapter; KeyError where there is none of that name."""
        return self._known[name].model

    def check(self, folder: str | Path) -> None:
        """Load an adapter, and keep nothing of it; raises as `load_tuned` and `Network` do."""
        network_of(tuned_over(self._base, folder))

    def register(self, name: str, folder: str | Path) -> None:
        """Take a folder that was checked."""
        method = read_tuned(folder).method
        model = AloneModel(self, name, self._base, self._tokens, f"{self._note}; {method}")
        self._known[name] = _Entry(Path(folder), method, model)

    def remove(self, name: str) -> None:
        """Forget an adapter; answers that are being written go on. KeyError where there is none."""
        with self._loading:
            del self._known[name]
            self._made.pop(name, None)

    def network(self, name: str) -> Network:
        """The network of an adapter, made where it is not there.

        Raises ConfigError where it was removed, and as `check`.
        """
        with self._loading:
            entry = self._known.get(name)
            if entry is None:
                raise ConfigError("the adapter was removed", where=name, hint="ask another model")
            made = self._made.pop(name, None)
            if made is None:
                tuned = tuned_over(self._base, entry.folder)
                made = network_of(tuned)
                state = tuned.state().values()
                entry.bytes = sum(each.numel() * each.element_size() for each in state)
                entry.loads += 1
            else:
                entry.hits += 1
            self._made[name] = made
            self._drop()
            return made

    def states(self) -> Sequence[AloneState]:
        """Say where each adapter is."""
        return [
            AloneState(
                name, one.method, one.bytes if name in self._made else 0, one.hits, one.loads
            )
            for name, one in self._known.copy().items()
        ]

    def _drop(self) -> None:
        while len(self._made) > 1:
            if sum(self._known[name].bytes for name in self._made) <= self._most:
                return
            self._made.popitem(last=False)


class AloneModel(TorchModel):
    """The base with one of these adapters. Closing it calls `on_close`, which does nothing
    where it is one of several models: its owner forgets it."""

    def __init__(
        self,
        owner: AloneAdapters,
        name: str,
        base: PreTrainedModel,
        tokens: HuggingFaceTokens,
        note: str,
    ) -> None:
        super().__init__(base, tokens, name=name, note=note)
        self._owner = owner
        # One lock for all of them: that is what makes them take turns.
        self._lock = owner.turn
        self.on_close: Callable[[], object] | None = None

    def close(self) -> None:
        """See the class."""
        if self.on_close is not None:
            self.on_close()

    def _open(self) -> Network:
        return self._owner.network(self._info.name)
