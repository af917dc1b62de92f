"""Where data from a page may go: nowhere that writes, unless a rule names the flow.

A value carries the names of the elements whose text went into it. It may be compared, matched,
stored and shown; into a field, and so into a write, a message or a URL, only by a rule:

    FlowRule(source="order__email", sink="mail__to")

Values of the script itself, of its parameters and what is only chosen by a comparison have no
sources: who wrote the comparison decided that.
"""

from __future__ import annotations

from collections.abc import Collection

from adwright.core.config import settings
from adwright.core.errors import ConfigError


@settings
class FlowRule:
    """Text of the element `source` may be put into the element `sink`; both are names, no
    patterns. A sink of "*" is refused: a rule says where data goes."""

    source: str
    sink: str

    def __post_init__(self) -> None:
        for name in (self.source, self.sink):
            if not (name.isascii() and name.isidentifier()):
                raise ConfigError(
                    f"{name!r} is no name of an element",
                    where="FlowRule",
                    hint="name one element each, as in the document",
                )


def refused_sources(
    sources: Collection[str], sink: str, rules: Collection[FlowRule]
) -> tuple[str, ...]:
    """Those of `sources` that no rule lets into `sink`, sorted; none where all may."""
    allowed = {one.source for one in rules if one.sink == sink}
    return tuple(sorted(set(sources) - allowed))
