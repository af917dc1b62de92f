"""Checks a text that was written for a request, and mends what can be mended.

    config = CheckConfig(limit="google.headline", brands=brands_of(products))
    check("Best 32GB stick!!!", request, config)      # grounding, policy/superlative, ...
    mended = repair("Best 32GB stick!!!", request, config)
    mended.text, mended.failed

`check` runs what the task asks for: `tasks.task` names it. `repair` takes out what no fact supports
or a rule forbids, first the word, then the clause, then the sentence, and shortens to the limit;
when that leaves errors it writes the facts themselves. What it returns has no error left, or is
empty and says that it failed: a machine never publishes what a check refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adwright.authoring.checks.limits import (
    CheckConfig,
    CheckName,
    Finding,
    check_limit,
    check_repetition,
    check_voice,
    errors_of,
    facts_of,
    in_order,
    limit_named,
    trim,
)
from adwright.authoring.checks.mending import Level, cut, quieter, template_text
from adwright.authoring.checks.policy import check_language, check_markup, check_policy, plain_text
from adwright.authoring.tasks import AuthoringRequest
from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.grounding import unsupported_spans

_LEVELS: tuple[Level, ...] = ("word", "word", "clause", "clause", "sentence", "sentence")
_SAID = {
    "number": "no fact has this number",
    "unit": "the facts have this number with another unit",
    "brand": "no fact names this brand",
    "material": "no fact names this material",
    "colour": "no fact names this colour",
    "claim": "no fact makes this claim",
    "name": "no fact has this name",
}
#: Mended by writing them milder, not by taking them out.
_MILDER = ("policy/capitals", "policy/punctuation")
_CONFIG = CheckConfig()


@dataclass(frozen=True)
class Repaired:
    """text: after mending; empty where it failed. findings_before: in the text as it was.
    findings_after: in `text`. changed: whether it is another text."""

    text: str
    findings_before: tuple[Finding, ...]
    findings_after: tuple[Finding, ...]
    changed: bool

    @property
    def failed(self) -> bool:
        """Whether errors are left: nothing may be published."""
        return bool(errors_of(self.findings_after))


def check(
    text: str, request: AuthoringRequest, config: CheckConfig = _CONFIG
) -> tuple[Finding, ...]:
    """All findings, by where they begin.

    A text longer than `config.most_characters` has one error and is not looked into; an empty one
    has one error. Raises DataError where it is no text, ConfigError for a task whose checks are not
    known.
    """
    if not isinstance(text, str):
        raise DataError("what was written is no text", column=request.task.name, value=text)
    if len(text) > config.most_characters:
        message = f"{len(text)} characters where {config.most_characters} are checked"
        start = config.most_characters
        return (Finding("size/too-long", start, len(text), "error", message, "shorten it"),)
    if not text.strip():
        return (Finding("size/empty", 0, len(text), "error", "there is no text", "write one"),)
    found: list[Finding] = []
    for name in config.checks or request.task.checks:
        found += _checked(name, text, request, config)
    return in_order(found)


def _checked(
    name: CheckName | str, text: str, request: AuthoringRequest, config: CheckConfig
) -> Iterable[Finding]:
    facts, locale = facts_of(request, config), config.locale_of(request)
    match name:
        case "grounding":
            spans = unsupported_spans(text, facts, brands=config.brands, locale=locale)
            return [
                Finding(f"grounding/{one.kind}", one.start, one.end, "error", _SAID[one.kind])
                for one in spans
            ]
        case "policy":
            return check_policy(text, facts, competitors=config.competitors, locale=locale)
        case "limits":
            return check_limit(text, limit_named(config.limit)) if config.limit else ()
        case "voice":
            return check_voice(text, config.voice) if config.voice is not None else ()
        case "language":
            return check_language(text, locale)
        case "markup":
            return check_markup(text)
        case "repetition":
            return check_repetition(text)
        case "label":
            return _label(text, request.labels)
        case _:
            raise ConfigError(f"there is no check {name!r}", where=f"task {request.task.name}")


def _label(text: str, labels: tuple[str, ...]) -> Iterable[Finding]:
    if text.strip() in {label.strip() for label in labels}:
        return ()
    return [Finding("label/unknown", 0, len(text), "error", "it is none of the labels")]


def repair(text: str, request: AuthoringRequest, config: CheckConfig = _CONFIG) -> Repaired:
    """The text without errors, or an empty one; warnings are left to people.

    A label is not mended: another one would be an invention. Raises as `check`.
    """
    before = check(text, request, config)
    if not errors_of(before):
        return Repaired(text, before, before, changed=False)
    if request.task.form == "label":
        return Repaired("", before, check("", request, config), changed=True)
    mended = plain_text(text[: config.most_characters])
    for level in _LEVELS:
        wrong = errors_of(check(mended, request, config))
        if not wrong:
            break
        mended = _mended(mended, wrong, level, config)
    after = check(mended, request, config)
    if errors_of(after):
        limit = limit_named(config.limit) if config.limit else None
        mended = template_text(
            request, lambda one: not errors_of(check(one, request, config)), limit
        )
        after = check(mended, request, config)
    return Repaired(mended, before, after, changed=mended != text)


def _mended(text: str, wrong: tuple[Finding, ...], level: Level, config: CheckConfig) -> str:
    """One step: what is only too loud milder, else out with what is wrong, else shorter."""
    loud = [one for one in wrong if one.rule in _MILDER]
    if loud and level == "word":
        for one in reversed(loud):
            text = text[: one.start] + quieter(text[one.start : one.end]) + text[one.end :]
        return text
    parts = [(one.start, one.end) for one in wrong if not one.rule.startswith("limits/")]
    if parts:
        return cut(text, parts, level)
    return trim(text, limit_named(config.limit))
