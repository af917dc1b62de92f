"""How well a value of a task fits as the name of an item of a list.

    fit, is_known = named_item(intent, forms, "Spring", forms.terms("offers"))

The word before the value says what it is: in 'the offer "Spring"' an item of offers. A list of
something else is refused where the document knows the word.
"""

from __future__ import annotations

from collections.abc import Collection

from adwright.agent.generate.form_ways import DocumentForms
from adwright.agent.generate.task_intent import TaskIntent

__all__ = ["ACTS", "named_item"]

#: Words for what is done, and for switches: they are about no kind of item.
ACTS = frozenset(
    (
        *("set", "chang", "updat", "renam", "delet", "remov", "suspend", "mak", "put"),
        *("rais", "giv", "off", "not", "longer", "switch", "turn", "want", "need"),
    )
)
#: What becomes something is no name of an item; what something is said of may be. Our choice.
_BECOMES, _OWNER, _WEAK = 1.5, 1.0, 1.0


def named_item(
    intent: TaskIntent, forms: DocumentForms, value: str, about: Collection[str]
) -> tuple[float, bool]:
    """How well it fits, and whether no other list is meant. about: terms of the list."""
    cue = next(one for one in intent.values if one.value == value)
    weights = forms.weights
    kind = [one for one in cue.before[-1:] or cue.after[:1] if one not in ACTS]
    kind = [] if cue.owns else kind
    shared = weights.shared(kind, about)
    strange = weights.of(kind) - shared
    fit = shared - strange - (_BECOMES if cue.follows else 0.0) - (_WEAK if cue.named else 0.0)
    is_other = strange > 0 and any(one in forms.kinds for one in kind)
    return fit + (_OWNER if cue.owns else 0.0), not is_other
