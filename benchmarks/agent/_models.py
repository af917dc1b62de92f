"""The models of the systems that ask one, each opened when it is first needed.

with closing(SystemModels(model="", adapter="")) as models:
    models.of("ladder")         # the tuned writer where there is one, else the model as it is
"""

from __future__ import annotations

from adwright.agent.generate.writing import WRITER_ADAPTER, open_tuned_writer
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm
from benchmarks.agent.tasks._systems import SystemName


class SystemModels:
    """model: as `open_model` reads it; empty for the default one. adapter: of a tuned writer; empty
    for that of the package, which a model that is named is asked without."""

    def __init__(self, *, model: str = "", adapter: str = "") -> None:
        self._model, self._adapter = model, adapter
        self._opened: dict[bool, LanguageModel] = {}

    def of(self, system: SystemName) -> tuple[LanguageModel, ...]:
        """What a system may ask. Scripts are written by the tuned writer where there is one, but
        for "untuned"; steps are taken by the model as it is."""
        if system in ("plan", "macro"):
            return ()
        writes = self.is_tuned(system)
        if writes not in self._opened:
            if not (writes or system in ("untuned", "steps")):
                print(f"no tuned writer is there: {self._model or SMOLLM2} is asked as it is")
            self._opened[writes] = self._open(writes=writes)
        return (self._opened[writes],)

    def is_tuned(self, system: SystemName) -> bool:
        """Whether a system asks a tuned writer."""
        tuned = bool(self._adapter) or (not self._model and WRITER_ADAPTER.is_dir())
        return tuned and system not in ("plan", "macro", "untuned", "steps")

    def close(self) -> None:
        """Close those that were opened."""
        for one in self._opened.values():
            one.close()

    def _open(self, *, writes: bool) -> LanguageModel:
        model = self._model or SMOLLM2
        if writes:
            return open_tuned_writer(self._adapter, model=model, threads=1)
        return open_lm(LmSpec(model, threads=1))
