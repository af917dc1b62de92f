"""Kinds of values, and the verbs: what each takes, gives and does.

    VERBS["set_text"].takes        # an element, then text, a number or a secret

The checker, the interpreter, the grammar and the help text all read this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from adwright.core.config import check_literals, settings
from adwright.core.errors import ConfigError

__all__ = ["ATTRIBUTES", "DIRECTIONS", "NOTHING", "VERBS", "KindName", "ValueKind", "Verb"]

KindName = Literal[
    "text", "whole", "number", "truth", "list", "element", "elements", "secret", "nothing"
]
#: "tap" and its like change the screen; "look" only reads it; "plain" does not touch it.
VerbNature = Literal["act", "look", "plain"]
#: What an act may do to what the app stores: what its element does; no more than to fill a field,
#: which some element sends later; what the form does that has the focus; or nothing.
ActEffect = Literal["element", "draft", "form", "nothing"]


@settings
class ValueKind:
    """What is known of a value before the script runs.

    name: "number" has decimals, and "whole" is one too; "elements" are the items of a list on the
    screen. item: what a list holds; None for an empty one. names: the elements of the document that
    a handle may stand for. sources: the elements whose text or attributes went into the value: what
    has any is data from the page.
    """

    name: KindName
    item: ValueKind | None = None
    names: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def __str__(self) -> str:
        if self.name == "list":
            return f"a list of {self.item.name}" if self.item else "an empty list"
        words = {
            "text": "a text",
            "whole": "a whole number",
            "number": "a number",
            "truth": "a truth value",
            "element": "an element",
            "elements": "a list of elements",
            "secret": "a secret",
        }
        return words.get(self.name, self.name)

    def accepts(self, other: ValueKind) -> bool:
        """Whether a value of kind `other` may stand where this one is asked for."""
        if self.name == "number":
            return other.name in ("number", "whole")
        if self.name != "list" or other.name != "list":
            return self.name == other.name
        return self.item is None or other.item is None or self.item.accepts(other.item)

    def joined(self, other: ValueKind) -> ValueKind | None:
        """The kind of what is one or the other; None where they do not go together."""
        item = self.item or other.item
        if self.accepts(other):
            name = self.name
        elif other.accepts(self):
            name = other.name
        else:
            return None
        if self.item and other.item:
            item = self.item.joined(other.item)
        names, sources = self.names | other.names, self.sources | other.sources
        return ValueKind(name, item, names, sources)


NOTHING = ValueKind("nothing")
#: What get_attributes can be asked for, and the kind of the answer.
ATTRIBUTES: Mapping[str, KindName] = {
    "checked": "truth",
    "enabled": "truth",
    "label": "text",
    "selected": "truth",
    "value": "text",
    "visible": "truth",
}
DIRECTIONS = ("up", "down", "left", "right")


@dataclass(frozen=True)
class Verb:
    """One verb. takes: for each argument the kinds it may have; gives: the kind of its value, of
    which the checker knows more; least: the fewest arguments, -1 where all are needed. effect: of
    an act. fills: the types of fields that it puts a value into.

    A new act on an element is a row here, and one of `run.screen_world.TOUCHES`.
    """

    name: str
    takes: tuple[tuple[KindName, ...], ...]
    gives: KindName
    nature: VerbNature
    example: str
    help: str
    least: int = -1
    effect: ActEffect = "nothing"
    fills: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kinds in self.takes:
            for one in kinds:
                if one not in get_args(KindName):
                    known = ", ".join(get_args(KindName))
                    raise ConfigError(f"{one!r} is no kind", where="Verb.takes", hint=known)
        check_literals(self)

    @property
    def fewest(self) -> int:
        """The fewest arguments it can do with."""
        return len(self.takes) if self.least < 0 else self.least


_ONE: tuple[KindName, ...] = ("element",)
_TABLE = (
    Verb(
        *("tap", (_ONE,), "nothing", "act", "tap($offers__new)", "tap or click an element"),
        effect="element",
    ),
    Verb(
        *("long_tap", (_ONE,), "nothing", "act", "long_tap($row)", "hold an element for a second"),
        effect="element",
    ),
    Verb(
        "set_text",
        (_ONE, ("text", "whole", "number", "secret")),
        "nothing",
        "act",
        'set_text($offer__name, "Spring")',
        "replace what stands in a field",
        effect="draft",
        fills=("text", "number", "date", "secret"),
    ),
    Verb(
        "choose",
        (_ONE, ("text", "truth")),
        "nothing",
        "act",
        'choose($offer__status, "Open")',
        "choose an option by its label; of a switch true or false",
        effect="draft",
        fills=("choice", "switch"),
    ),
    Verb(
        "scroll",
        (("element", "text"), ("text",)),
        "truth",
        "act",
        'scroll("down")',
        "one page up, down, left or right, in the screen or in an element; true at the end",
        least=1,
    ),
    Verb("back", (), "nothing", "act", "back()", "go to where one came from"),
    Verb(
        *("enter", (), "nothing", "act", "enter()", "press the key Enter, which may send a form"),
        effect="form",
    ),
    Verb("get_text", (_ONE,), "text", "look", "get_text($offer__total)", "the text of an element"),
    Verb(
        "get_attributes",
        (_ONE, ("text",)),
        "text",
        "look",
        'get_attributes($offer__active, "checked")',
        f"one of {', '.join(ATTRIBUTES)}",
    ),
    Verb(
        "match",
        (("elements",), ("text",)),
        "elements",
        "look",
        'match($offers__rows, "Spring")',
        "the items of a list whose text has this in it, in capitals or not",
    ),
    Verb(
        "find",
        (("elements",), ("text",)),
        "element",
        "look",
        'find($offers__rows, "Spring")',
        "the one item with this text, searched for where the page does not show it",
    ),
    Verb(
        "inside",
        (_ONE, ("element", "elements")),
        "element",
        "plain",
        "inside(row, $offers__edit)",
        "the element within an item",
    ),
    Verb("len", (("elements", "list", "text"),), "whole", "look", "len($rows)", "how many"),
    Verb("range", (("whole",),), "list", "plain", "range(3)", "0, 1, 2 for a loop"),
    Verb("number", (("text",),), "number", "plain", 'number("3.50")', "the number in a text"),
    Verb("text", (("text", "whole", "number"),), "text", "plain", "text(3)", "a number as text"),
    Verb("lower", (("text",),), "text", "plain", 'lower("Ab")', "in small letters"),
    Verb(
        "secret",
        (("text",),),
        "secret",
        "plain",
        'secret("shop_admin")',
        "a password that the user keeps; only set_text takes it",
    ),
    Verb(
        "answer",
        (("text", "whole", "number", "truth"),),
        "nothing",
        "plain",
        "answer(get_text($total))",
        "tell the user",
    ),
    Verb(
        "expect",
        (("truth",),),
        "nothing",
        "plain",
        'expect("Spring" in get_text($title))',
        "stop where this is false",
    ),
)
#: All verbs by their names.
VERBS: Mapping[str, Verb] = {one.name: one for one in _TABLE}
#: The verb that puts a value into a field of a type.
FILLING_VERBS: Mapping[str, str] = {kind: one.name for one in _TABLE for kind in one.fills}
