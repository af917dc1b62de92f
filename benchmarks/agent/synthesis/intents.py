"""What could be asked of an app, before it has words: tasks over the effects in its document.

    intents = make_intents(document, known, IntentConfig(seed=7))
    intents[0].kind, intents[0].item, intents[0].settings

Groups of 1, 2, 4 and 6 neighbouring fields of a form (the paper takes 2, 4 and 6 elements) become
tasks that set them on an item or make something new; forms without fields, that delete; fields,
questions; lists, counts. Tasks with a precondition ask first whether an item exists, or what stands
in a field. Which intents come does not depend on anything but the document, what is known, and the
seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeVar, get_args

from adwright.agent.document.elements import AppDocument, Element, column_of
from adwright.core.config import Count, settings
from adwright.core.hashing import content_hash
from benchmarks.agent.synthesis.drawn_values import FieldValue, draw_value, said_value
from benchmarks.agent.synthesis.known_items import KnownApp, KnownItem
from benchmarks.agent.synthesis.places import AppPlaces, FormPlace, ListDoor, plain_label

#: "if_there", "unless_there": done where an item exists, made where none does. "if_value": set
#: where something else stands there. "read_cell": in the list. "look_up": by the app's own search.
IntentKind = Literal[
    "set",
    "create",
    "send",
    "delete",
    "read",
    "read_cell",
    "count",
    "count_some",
    "look_up",
    "if_there",
    "unless_there",
    "if_value",
]
INTENT_KINDS: tuple[IntentKind, ...] = get_args(IntentKind)
_GROUPS = (1, 2, 4, 6)
_Any = TypeVar("_Any")


@dataclass(frozen=True)
class FieldSetting:
    """A field, as people call it, and what it gets. coded: the value is an option, which an app may
    send and store by a key of its own."""

    field: str
    label: str
    value: FieldValue
    coded: bool = False

    @property
    def said(self) -> str:
        """The value as it is written in a task."""
        return said_value(self.value)


@settings
class DrawnIntent:
    """One task.

    state: of the form or list. noun: what its things are called. rows, link, item: the list, the
    link in its items, and the name of the item; empty where none is picked. settings: what fields
    get. button: what is tapped in the end, pressed: its label. asked: the field or list that is
    asked about, with asked_label; expected: the answer. found: what stands in the asked field now,
    for "if_value".
    """

    kind: IntentKind
    state: str
    noun: str
    rows: str = ""
    link: str = ""
    item: str = ""
    settings: tuple[FieldSetting, ...] = ()
    button: str = ""
    pressed: str = ""
    asked: str = ""
    asked_label: str = ""
    expected: str = ""
    found: str = ""

    @property
    def key(self) -> str:
        """The same for the same task."""
        told = asdict(self)
        told["settings"] = [[one.field, one.said] for one in self.settings]
        return content_hash(told)[:16]

    @property
    def elements(self) -> frozenset[str]:
        """All elements that its script names."""
        fields = [one.field for one in self.settings]
        return frozenset(filter(None, [self.rows, self.link, self.button, self.asked, *fields]))

    @property
    def writes(self) -> bool:
        """Whether it changes what the app stores."""
        return self.kind not in ("read", "read_cell", "count", "count_some", "look_up")


@settings
class IntentConfig:
    """kinds: which are made. a_form: of one form and size of group, so many; a_list: so many
    questions of one list. most: in all, drawn where there are more."""

    kinds: tuple[IntentKind, ...] = INTENT_KINDS
    a_form: Count = 2
    a_list: Count = 2
    most: Count = 400
    seed: int = 0


def make_intents(
    document: AppDocument, known: KnownApp, config: IntentConfig | None = None
) -> tuple[DrawnIntent, ...]:
    """The intents of a document, in an order drawn by the seed, each once."""
    config = config or IntentConfig()
    maker = _Maker(document, known, config)
    found = {one.key: one for one in maker.all() if one.kind in config.kinds}
    intents = [found[key] for key in sorted(found)]
    random.Random(config.seed).shuffle(intents)
    return tuple(intents[: config.most])


class _Maker:
    def __init__(self, document: AppDocument, known: KnownApp, config: IntentConfig) -> None:
        self._places = AppPlaces(document)
        self._known = known
        self._config = config
        self._random = random.Random(config.seed)

    def all(self) -> Iterator[DrawnIntent]:
        for form in self._places.forms:
            doors = [one for one in self._places.doors_to(form.state) if self._items(one)]
            if form.fields:
                yield from self._edits(form, doors)
                if form.state in self._places.open_states:
                    yield from self._creates(form)
            elif form.button.effect == "destructive":
                yield from self._deletes(form, doors)
        for goal in dict.fromkeys(goal for one in self._places.doors for goal in one.goals):
            for door in self._places.doors_to(goal):
                yield from self._reads(door, goal)
        for name in self._known.lists:
            yield from self._cells(name)
            yield from self._counts(name)
        for search in self._places.searches:
            yield from self._look_ups(search)

    # --- writes ------------------------------------------------------------------------

    def _edits(self, form: FormPlace, doors: Sequence[ListDoor]) -> Iterator[DrawnIntent]:
        noun = self._places.noun(form.state)
        for door in doors:
            for group in self._groups(form.fields):
                item = self._random.choice(self._items(door))
                now = item.pages.get(form.state, {})
                settings = self._settings(group, now)
                if not settings:
                    continue
                base = DrawnIntent(
                    "set",
                    form.state,
                    noun,
                    door.rows.name,
                    door.link.name,
                    item.name,
                    settings,
                    form.button.name,
                    plain_label(form.button),
                )
                yield base
                yield replace(base, kind="if_there")
                if len(settings) == 1 and settings[0].field in now and now[settings[0].field]:
                    yield self._if_value(base, now[settings[0].field])

    def _creates(self, form: FormPlace) -> Iterator[DrawnIntent]:
        required = [one for one in form.fields if one.constraints.required or "*" in one.label]
        for group in self._groups(form.fields):
            wanted = [one for one in form.fields if one in group or one in required]
            settings = self._settings(wanted, {})
            texts = [one for one in settings if not isinstance(one.value, bool) and not one.coded]
            if len(settings) < len(required) or not texts:
                continue
            noun = self._places.noun(form.state)
            kind: IntentKind = "create" if form.button.effect == "commit" else "send"
            made = DrawnIntent(
                kind,
                form.state,
                noun,
                settings=settings,
                button=form.button.name,
                pressed=plain_label(form.button),
            )
            yield made
            rows = self._list_of(noun) if kind == "create" else ""
            if rows and isinstance(settings[0].value, str):
                yield replace(made, kind="unless_there", rows=rows, item=settings[0].value)

    def _deletes(self, form: FormPlace, doors: Sequence[ListDoor]) -> Iterator[DrawnIntent]:
        noun = self._places.noun(form.state)
        for door in doors:
            for item in self._some(self._items(door), self._config.a_form):
                base = DrawnIntent(
                    "delete",
                    form.state,
                    noun,
                    door.rows.name,
                    door.link.name,
                    item.name,
                    button=form.button.name,
                    pressed=plain_label(form.button),
                )
                yield base
                yield replace(base, kind="if_there")

    def _if_value(self, base: DrawnIntent, now: str) -> DrawnIntent:
        (one,) = base.settings
        return replace(base, kind="if_value", asked=one.field, asked_label=one.label, found=now)

    # --- questions -----------------------------------------------------------------------

    def _reads(self, door: ListDoor, goal: str) -> Iterator[DrawnIntent]:
        items = [one for one in self._items(door) if one.pages.get(goal)]
        for item in self._some(items, self._config.a_list):
            told = item.pages[goal]
            fields = [
                one
                for one in self._places.readable(goal)
                if told.get(one.name) and one.value_type != "switch"
            ]
            for one in self._some(fields, self._config.a_list):
                yield DrawnIntent(
                    "read",
                    goal,
                    self._places.noun(goal),
                    door.rows.name,
                    door.link.name,
                    item.name,
                    asked=one.name,
                    asked_label=plain_label(one),
                    expected=told[one.name],
                )

    def _cells(self, rows: str) -> Iterator[DrawnIntent]:
        element = self._places.document.by_name[rows]
        doors = [one for one in self._places.doors if one.rows.name == rows]
        noun = self._places.noun(doors[0].goals[0] if doors else element.state)
        told = [one for one in self._known.lists[rows].items if one.cells]
        for item in self._some(told, self._config.a_list):
            columns = [
                one
                for one in self._places.columns(element)
                if item.cells.get(one.name, item.name) != item.name
            ]
            for one in self._some(columns, self._config.a_list):
                yield DrawnIntent(
                    "read_cell",
                    element.state,
                    noun,
                    rows,
                    item=item.name,
                    asked=one.name,
                    asked_label=column_of(one).lower(),
                    expected=item.cells[one.name],
                )

    def _counts(self, rows: str) -> Iterator[DrawnIntent]:
        found, element = self._known.lists[rows], self._places.document.by_name[rows]
        doors = [one for one in self._places.doors if one.rows.name == rows]
        noun = self._places.noun(doors[0].goals[0] if doors else element.state)
        # What is neither opened nor has columns, such as the numbers of pages, nobody counts.
        if found.headed or not (doors or self._places.columns(element) or element.role == "row"):
            return
        if found.count:
            yield DrawnIntent("count", element.state, noun, rows, expected=str(found.count))
        words = self._words_of(found.items)
        for word, count in self._some(words, self._config.a_list):
            yield DrawnIntent(
                "count_some", element.state, noun, rows, item=word, expected=str(count)
            )

    def _look_ups(self, search: FormPlace) -> Iterator[DrawnIntent]:
        """Search for a name, and count what is found. What comes, only the app knows."""
        rows = self._places.lists_of(search.state)[0]
        known = self._known.lists.get(rows.name)
        if known is None or known.headed:
            return
        for item in self._some(known.items, self._config.a_list):
            field = search.fields[0]
            yield DrawnIntent(
                "look_up",
                search.state,
                self._places.noun(search.state),
                rows.name,
                item=item.name,
                settings=(FieldSetting(field.name, plain_label(field), item.name),),
                button=search.button.name,
                expected="",
            )

    # --- parts -----------------------------------------------------------------------------

    def _groups(self, fields: Sequence[Element]) -> Iterator[Sequence[Element]]:
        """Neighbours, so many of each size; where a form is smaller, the whole of it once."""
        sizes = [size for size in _GROUPS if size < len(fields)] + [len(fields)]
        for size in dict.fromkeys(size for size in sizes if size <= _GROUPS[-1]):
            starts = range(len(fields) - size + 1)
            for start in self._some(starts, self._config.a_form):
                yield fields[start : start + size]

    def _settings(
        self, fields: Iterable[Element], now: Mapping[str, str]
    ) -> tuple[FieldSetting, ...]:
        found: list[FieldSetting] = []
        said: set[str] = set()
        for one in fields:
            value = draw_value(one, now.get(one.name), self._random)
            if value is None:
                continue
            # Two fields with one text would leave open which is which.
            if not isinstance(value, bool) and said_value(value) in said:
                continue
            said.add(said_value(value))
            coded = one.value_type == "choice"
            found.append(FieldSetting(one.name, plain_label(one), value, coded))
        return tuple(found)

    def _items(self, door: ListDoor) -> tuple[KnownItem, ...]:
        found = self._known.lists.get(door.rows.name)
        return found.items if found else ()

    def _list_of(self, noun: str) -> str:
        """The list of the things of this name."""
        for door in self._places.doors:
            nouns = [self._places.noun(goal) for goal in door.goals]
            if noun in nouns and door.rows.name in self._known.lists:
                return door.rows.name
        return ""

    def _words_of(self, items: Sequence[KnownItem]) -> list[tuple[str, int]]:
        """Words of the names, and in how many items they stand."""
        texts = [one.text.casefold() for one in items]
        words = dict.fromkeys(
            word for one in items for word in one.name.split() if len(word) > 3 and word.isalpha()
        )
        counted = [(word, sum(word.casefold() in text for text in texts)) for word in words]
        return [(word, count) for word, count in counted if count]

    def _some(self, many: Sequence[_Any], count: int) -> list[_Any]:
        return self._random.sample(many, min(count, len(many)))
