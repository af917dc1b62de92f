"""Acts on an item that a task speaks of: 'Find the note by Ann and delete it'.

    acts = ItemActs(intent, forms, "page")
    acts.add(find)               # remembers the item
    acts.add(delete)             # tap(inside(find($notes, "Ann"), $page__trash))

What is to be done is a part of the item, or stands on what opens when the item is tapped. What is
typed there goes into its field, and is sent by the button beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from adwright.agent.document.elements import Element
from adwright.agent.generate.acts.act_targets import alike, bare_name
from adwright.agent.generate.acts.best_item import read_best
from adwright.agent.generate.acts.page_acts import PageActs
from adwright.agent.generate.acts.task_parts import ActPart
from adwright.agent.generate.task_terms import terms_of
from adwright.agent.language.tree import (
    Act,
    ElementUse,
    Expression,
    IndexedTerm,
    TextLiteral,
    VerbCall,
    WholeLiteral,
)

__all__ = ["ItemActs"]

_RECORDS = ("row", "listitem", "article")
_PARTS = ("generic", "button", "link", "menuitem", "listitem")
_PART, _OPENED = 1.5, 1.2
_MOST_TIMES = 10
#: Whose an item is, where a capital letter alone says that it is a name.
_OWNER = re.compile(r"\b([A-Z][\w-]{1,60})['’]s\b|\b(?:by|from|of)\s+([A-Z][\w-]+)")


class ItemActs(PageActs):
    """`PageActs` with an item in mind, once a part has named one."""

    _item: tuple[Element, str] | None = None
    _opened = False

    def add(self, part: ActPart) -> bool:
        """See `PageActs`."""
        if part.kind == "find":
            return self._remember(part)
        if part.kind in ("tap", "do", "pick") and self._of_item(part):
            return True
        if part.kind == "do":
            return self._pick(part) if read_best(part.rest) else False
        return super().add(part)

    def _remember(self, part: ActPart) -> bool:
        """The item that a part names; a part that names none needs no act."""
        values = self.values_of(part) or tuple(
            found[1] or found[2] for found in _OWNER.finditer(part.plain)
        )
        if not values:
            return not re.search(r"\d", part.rest)
        rows = self.targets.lists(_RECORDS)
        if not rows:
            return False
        self._item = (rows[0], values[0])
        return True

    def _of_item(self, part: ActPart) -> bool:
        """An act on a part of an item: of the one in mind, or of those that the part names."""
        values = list(self.values_of(part))
        item, times = self._item, max(part.times, 1)
        if part.times and len(part.values) == 2:
            rows = self.targets.lists(_RECORDS)
            item = (rows[0], values.pop()) if rows else None
        if item is None or times > _MOST_TIMES:
            return False
        values = [one for one in values if one != item[1]]
        one = self._part_for(item[0], part, values)
        if one is None:
            return False
        if one.state != self.here and not self._opened and self._opens(item[0], one.state):
            self.tap(_found(item), _OPENED)
            self._opened, self.here = True, one.state
        if not one.many:
            self.tap(ElementUse(one.name), _OPENED)
            return self._then_typed(one, part, [v for v in values if v != one.label])
        for n in range(times):
            around = _found(item) if not part.times else _nth_of(item, n)
            self.tap(VerbCall("inside", (around, ElementUse(one.name))), _PART)
        return True

    def _part_for(self, rows: Element, part: ActPart, values: Sequence[str]) -> Element | None:
        """The part of an item that is called so, or whose words are nearest; else one of what
        opens when the item is tapped."""

        def inside(one: Element) -> bool:
            return one.many and one.role in _PARTS and self._is_in(one, rows)

        def beyond(one: Element) -> bool:
            return (
                not one.many
                and one.role in _PARTS
                and one.state != self.targets.state
                and (self._opened or self._opens(rows, one.state))
            )

        for value in values if part.kind != "do" else ():
            for one in self.targets.all:
                if bare_name(one.label) == bare_name(value) and (inside(one) or beyond(one)):
                    return one
        terms = [*terms_of(part.rest), *(t for v in values[:1] for t in terms_of(v))]
        for takes in (inside, beyond):
            found = self.targets.likest(terms, takes)
            if found is not None:
                return found[0]
        return None

    def _is_in(self, one: Element, rows: Element) -> bool:
        around = self.forms.rows_around(one)
        return one is not rows and around is not None and around.name == rows.name

    def _opens(self, rows: Element, state: str) -> bool:
        """Whether tapping an item leads to a state."""
        return any(
            edge.element == rows.name and edge.target == state for edge in self.forms.document.edges
        )

    def _then_typed(self, tapped: Element, part: ActPart, values: Sequence[str]) -> bool:
        """What the part says to write, on what the tap has shown, and its sending."""
        shown = [e.target for e in self.forms.document.edges if e.element == tapped.name]
        fields = [one for state in shown for one in self.targets.fields(state)]
        if not values or not fields:
            return not values
        self.here = fields[0].state
        for value in values:
            said = f"{{}} {bare_name(value)}"
            at = [
                one for one in fields if said.format(bare_name(one.label)) in bare_name(part.plain)
            ]
            ranked = at or sorted(fields, key=lambda one: -alike(one, part.rest))
            if len(fields) > 1 and not at and alike(ranked[0], part.rest) <= 0:
                return False
            act = VerbCall("set_text", (ElementUse(ranked[0].name), TextLiteral(value)))
            self.do(Act(act), 1.0)
            fields.remove(ranked[0])
        sends = self.targets.sending(self.here)
        return sends is not None and self.tap(ElementUse(sends.name), 1.0)


def _found(item: tuple[Element, str]) -> Expression:
    return VerbCall("find", (ElementUse(item[0].name), TextLiteral(item[1])))


def _nth_of(item: tuple[Element, str], n: int) -> Expression:
    some = VerbCall("match", (ElementUse(item[0].name), TextLiteral(item[1])))
    return IndexedTerm(some, WholeLiteral(n))
