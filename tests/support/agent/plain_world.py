"""A world for scripts that keeps everything in memory and writes down what is done."""

from __future__ import annotations

from dataclasses import dataclass, field

from adwright.agent.language.kinds import ElementHandle, SecretName, matching_handles
from adwright.agent.language.problems import ScriptError, ScriptProblem


@dataclass
class PlainWorld:
    """texts: what elements say. rows: the texts of the items of elements that are lists."""

    texts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[str]] = field(default_factory=dict)
    checked: dict[str, bool] = field(default_factory=dict)
    done: list[tuple[str, str, object]] = field(default_factory=list)
    said: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def act(
        self, verb: str, target: ElementHandle | None, value: str | bool | SecretName | None
    ) -> bool:
        name = "" if target is None else target.name
        if target is not None and target.within is not None:
            name = f"{target.within.name}[{target.within.place}] {name}"
        elif target is not None and target.place is not None:
            name = f"{name}[{target.place}]"
        self.done.append((verb, name, value))
        return verb == "scroll"

    def text(self, target: ElementHandle) -> str:
        if target.place is not None:
            return target.seen
        if target.name not in self.texts:
            raise ScriptError([ScriptProblem("not_found", f"${target.name} is not there")])
        return self.texts[target.name]

    def attribute(self, target: ElementHandle, name: str) -> str | bool:
        if name in ("label", "value"):
            return self.text(target)
        return self.checked.get(target.name, False)

    def items(self, name: str) -> tuple[ElementHandle, ...]:
        return tuple(ElementHandle(name, n, row) for n, row in enumerate(self.rows.get(name, [])))

    def find(self, name: str, wanted: str) -> ElementHandle:
        found = matching_handles(self.items(name), wanted)
        if len(found) != 1:
            raise ScriptError([ScriptProblem("not_found", f"{len(found)} items read {wanted}")])
        return found[0]

    def answer(self, text: str, sources: frozenset[str]) -> None:
        self.said.append((text, sources))
