"""What is refused, and requests without their particulars: "POST /offers/{}/"."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from adwright.core.errors import AdwrightError

# --------------------------------------------------------------------------------------------------
# The error of what a policy refuses.


class PolicyRefusalError(AdwrightError):
    """The policy of a run refuses something; code: a short name of the reason."""

    def __init__(self, code: str, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.args = (code, what)
        self.code = code


# --------------------------------------------------------------------------------------------------
# Requests without their particulars: "POST /offers/{}/" for all of that kind.

#: Methods that change nothing where a server keeps to the standard. OPTIONS is not needed.
SAFE_METHODS = frozenset(("GET", "HEAD"))


def matching_shape(method: str, url: str, shapes: Iterable[str]) -> str | None:
    """The first of `shapes` that a request is of, or None. In a shape {} stands for one part of a
    path, which is not empty; queries do not count."""
    given = urlsplit(url).path.split("/")
    for shape in shapes:
        wanted_method, _, path = shape.partition(" ")
        wanted = path.split("?", maxsplit=1)[0].split("/")
        if wanted_method.upper() != method.upper() or len(wanted) != len(given):
            continue
        if all(_fits(one, part) for one, part in zip(wanted, given, strict=True)):
            return shape
    return None


def method_of(shape: str) -> str:
    """The method of a shape, in capitals."""
    return shape.partition(" ")[0].upper()


def _fits(wanted: str, part: str) -> bool:
    return part == wanted or (wanted == "{}" and part not in ("", ".", ".."))
