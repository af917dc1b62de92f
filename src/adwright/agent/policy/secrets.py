"""Secrets: a script knows their names, this knows their values, and only the right field gets one.

    keeper = SecretKeeper((SecretRule("admin", ("https://shop.example",), ("sign_in__password",)),),
                          value_of=lambda name: os.environ[f"SECRET_{name.upper()}"])
    keeper.fill("admin", url, "sign_in__password", node)     # the value, or ScriptError
    keeper.mask(text)                                        # with <secret:admin> for the value

A value is read when it is needed; traces, reports and confirmations see masked text only.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, quote_plus

from adwright.agent.drivers.protocol import ScreenNode
from adwright.agent.policy.origins import origin_of
from adwright.agent.policy.refusals import PolicyRefusalError
from adwright.core.config import settings
from adwright.core.errors import ConfigError

__all__ = ["SecretKeeper", "SecretRule"]

#: A shorter one would mask half of every page.
_SHORTEST = 4


@settings
class SecretRule:
    """Where a secret may go. origins: as in `OriginRules`. elements: names in the document. masked:
    only into fields that hide what is typed; switch it off for user names and codes."""

    name: str
    origins: tuple[str, ...]
    elements: tuple[str, ...]
    masked: bool = True

    def __post_init__(self) -> None:
        for one in self.origins:
            if origin_of(one) is None:
                raise ConfigError(f"{one!r} is no origin", where=f"SecretRule {self.name}")
        if not self.origins or not self.elements:
            raise ConfigError(
                "a secret needs an origin and an element",
                where=f"SecretRule {self.name}",
                hint="say where it may be typed",
            )


class SecretKeeper:
    """value_of: gives the value of a secret by its name; raises KeyError where there is none."""

    def __init__(
        self, rules: tuple[SecretRule, ...] = (), *, value_of: Callable[[str], str] | None = None
    ) -> None:
        self._rules = {one.name: one for one in rules}
        self._value_of = value_of
        self._used: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"SecretKeeper({', '.join(sorted(self._rules))})"

    def fill(self, name: str, url: str, element: str, node: ScreenNode) -> str:
        """The value of a secret for a field of the page at `url`.

        Raises PolicyRefusalError where it must not go there.
        """
        rule = self._rules.get(name)
        if rule is None:
            raise _refused(f"there is no secret {name!r}", "add a SecretRule for it")
        origin = origin_of(url)
        if origin is None or origin not in {origin_of(one) for one in rule.origins}:
            raise _refused(f"the secret {name} is not for {origin}", "list the origin in its rule")
        if element not in rule.elements:
            raise _refused(f"the secret {name} is not for ${element}", "list the element")
        if rule.masked and not node.secret:
            raise _refused(f"${element} shows what is typed", "say masked=False in its rule")
        if node.frame and origin_of(node.frame) not in (None, origin):
            raise _refused(f"${element} is in a frame of {origin_of(node.frame)}", "")
        try:
            value = "" if self._value_of is None else self._value_of(name)
        except KeyError:
            value = ""
        if len(value) < _SHORTEST:
            raise _refused(f"the secret {name} has no value of {_SHORTEST} or more characters", "")
        self._used[name] = value
        return value

    def mask(self, text: str) -> str:
        """`text` without the secrets that were filled in, as they are and as URLs write them."""
        for name, value in sorted(self._used.items(), key=lambda one: -len(one[1])):
            for form in {value, quote(value, safe=""), quote_plus(value)}:
                text = text.replace(form, f"<secret:{name}>")
        return text


def _refused(what: str, hint: str) -> PolicyRefusalError:
    return PolicyRefusalError("secret", what, hint=hint)
