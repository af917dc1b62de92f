"""The error of what a policy refuses."""

from __future__ import annotations

from adwright.core.errors import AdwrightError

__all__ = ["PolicyRefusalError"]


class PolicyRefusalError(AdwrightError):
    """The policy of a run refuses something; code: a short name of the reason."""

    def __init__(self, code: str, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.args = (code, what)
        self.code = code
