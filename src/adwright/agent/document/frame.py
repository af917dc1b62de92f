"""What stands on most pages of an app, such as its menu: the frame, which is about no task.

    frame = frame_of(document)           # names of elements
    variants = variants_of(document)     # names of states, such as a list that is sorted otherwise

An element is of the frame where its role, label and requests stand in so many states; fields never
are. A variant is a state with a query in its address where another has none.
"""

from __future__ import annotations

from collections import Counter

from adwright.agent.document.elements import AppDocument, Element

__all__ = ["FRAME_LEAST", "FRAME_SHARE", "frame_of", "variants_of"]

#: In this share of the states, and in more than so many, an element is of the frame. Our choice.
FRAME_SHARE, FRAME_LEAST = 0.3, 3


def frame_of(document: AppDocument) -> frozenset[str]:
    """The names of the elements of the frame."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for state in document.states:
        counted.update({_sign(one) for one in document.elements_of(state.name)})
    least = max(FRAME_LEAST, FRAME_SHARE * len(document.states))
    return frozenset(
        one.name
        for one in document.elements
        if one.label and one.value_type == "none" and counted[_sign(one)] > least
    )


def variants_of(document: AppDocument) -> frozenset[str]:
    """The names of the states that are another view of one with the same path."""
    plain = {one.url_template for one in document.states if "?" not in one.url_template}
    return frozenset(
        one.name
        for one in document.states
        if "?" in one.url_template and one.url_template.partition("?")[0] in plain
    )


def _sign(element: Element) -> tuple[str, str, str]:
    # Buttons such as "Save" stand on many pages too, but send to each page's own address.
    return element.role, element.label, " ".join(element.requests)
