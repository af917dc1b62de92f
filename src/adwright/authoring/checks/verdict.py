"""Checks a text that was written for a request, and mends what can be mended.

    config = CheckConfig(limit="google.headline", brands=brands_of(products))
    check("Best 32GB stick!!!", request, config)      # grounding, policy/superlative, ...
    mended = repair("Best 32GB stick!!!", request, config, instead=lambda: "32GB stick")
    mended.text, mended.failed

`check` runs what the task asks for: `tasks.task` names it. `repair` leaves out the sentences in
which something is wrong. What is left must be whole and name its product; where it is not, the text
that was planned of the facts takes its place. What it returns has no error left, or is empty and
says that it failed: a machine never publishes what a check refused, nor a fragment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

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
)
from adwright.authoring.checks.policy import check_language, check_markup, check_policy, plain_text
from adwright.authoring.checks.relations import check_relations
from adwright.authoring.checks.whole import check_form, check_whole, sentences_of
from adwright.authoring.tasks import AuthoringRequest
from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.grounding import unsupported_spans

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
    return in_order(_as_named(one, text, request) for one in found)


def _as_named(one: Finding, text: str, request: AuthoringRequest) -> Finding:
    """A product may be called what a text may not say: within its name, policy only warns."""
    if one.severity == "warning" or not one.rule.startswith("policy/"):
        return one
    title = " ".join(request.product.title.casefold().split())
    before = re.search(r"(?<!\S)(\S++\s++)?$", text[: one.start])
    after = re.match(r"\w*(?:\s+[^\s.,!?]+)?", text[one.end :])
    start = one.start - len(before[0]) if before else one.start
    end = one.end + len(after[0]) if after else one.end
    around = (text[start : one.end], text[one.start : end], text[one.start : one.end])
    least = around[:2] if " " in title else around[2:]
    said = any(
        part.casefold().strip() in title for part in least if len(part) > one.end - one.start
    )
    whole = title in text.casefold() and around[2].casefold() in title
    return replace(one, severity="warning") if said or whole else one


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
        case "form":
            return check_form(text, request)
        case "relation":
            return check_relations(text, request)
        case "label":
            return _label(text, request.labels)
        case _:
            raise ConfigError(f"there is no check {name!r}", where=f"task {request.task.name}")


def _label(text: str, labels: tuple[str, ...]) -> Iterable[Finding]:
    if text.strip() in {label.strip() for label in labels}:
        return ()
    return [Finding("label/unknown", 0, len(text), "error", "it is none of the labels")]


def usable(
    text: str, request: AuthoringRequest, config: CheckConfig = _CONFIG, *, sentences: bool = False
) -> tuple[Finding, ...]:
    """What keeps a machine's text from being used: errors, and that it is not whole. sentences:
    whether the slot asks for such."""
    found = errors_of(check(text, request, config))
    if request.task.form != "text":
        return found
    return in_order((*found, *check_whole(text, request, sentences=sentences)))


def repair(
    text: str,
    request: AuthoringRequest,
    config: CheckConfig = _CONFIG,
    *,
    sentences: bool = False,
    instead: Callable[[], str] = str,
) -> Repaired:
    """The text without errors, or an empty one; warnings are left to people.

    sentences: whether the slot asks for whole ones. instead: what is written where nothing whole
    is left, such as a text by plan. A label is not mended: another one would be an invention.
    Raises as `check`.
    """
    before = check(text, request, config)
    wrong = usable(text, request, config, sentences=sentences)
    if not wrong:
        return Repaired(text, before, before, changed=False)
    before = in_order((*before, *wrong))
    mended = "" if request.task.form == "label" else _kept(text, request, config)
    if not mended or usable(mended, request, config, sentences=sentences):
        mended = "" if request.task.form == "label" else instead()
    if mended and usable(mended, request, config, sentences=sentences):
        mended = ""
    return Repaired(mended, before, check(mended, request, config), changed=mended != text)


def _kept(text: str, request: AuthoringRequest, config: CheckConfig) -> str:
    """The sentences in which nothing is wrong, written milder where they were only too loud, as
    many as fit."""
    plain = plain_text(text[: config.most_characters])
    limit = limit_named(config.limit) if config.limit else None
    kept = ""
    for one in sentences_of(plain):
        said = _quiet(one, request, config)
        longer = f"{kept} {said}".strip()
        over = limit is not None and limit.size(longer) > limit.most
        if not over and not errors_of(check(said, request, replace(config, limit=""))):
            kept = longer
    return kept


def _quiet(text: str, request: AuthoringRequest, config: CheckConfig) -> str:
    """The text with words in capitals and rows of marks written milder."""
    loud = [one for one in check(text, request, config) if one.rule in _MILDER]
    for one in reversed(loud):
        part = text[one.start : one.end]
        mark = next((sign for sign in part if sign in "!?."), "")
        milder = part.capitalize() if any(sign.isalpha() for sign in part) else mark
        text = text[: one.start] + milder + text[one.end :]
    return text
