"""Checks of the job that wrote a draft, as its journal tells: limits, voice, policy, facts.

    checks = JobChecks(drafts)
    checks.check(draft, "Assam tea, 80 bags").findings

Where the journal does not have the product or the job's settings, only what was found when the
draft was written is known, and the page says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from adwright.authoring.checks.verdict import CheckConfig, check
from adwright.authoring.tasks.product import Product
from adwright.authoring.tasks.task import AuthoringRequest, task_named
from adwright.authoring.writer.checking import check_configs, limit_of
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.draft import Draft
from adwright.authoring.writer.drafts import Drafts
from adwright.authoring.writer.slots import WriterSlot, slot_named
from adwright.console.review.checking import Checked, RoomTaken
from adwright.core.config import from_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError

__all__ = ["JobChecks"]


@dataclass(frozen=True)
class _Job:
    """config: of the job. checks: by slot."""

    config: WriteConfig
    checks: dict[str, CheckConfig]


class JobChecks:
    """Checks by the settings in a journal. Of each job they are read once."""

    def __init__(self, drafts: Drafts) -> None:
        self._drafts = drafts
        self._jobs: dict[str, _Job | str] = {}

    def check(self, draft: Draft, text: str) -> Checked:
        """Check `text` in the place of the draft's own."""
        job, product = self._job(draft), self._drafts.product(draft.product)
        if isinstance(job, str):
            return self._stored(draft, text, job)
        if product is None:
            return self._stored(draft, text, "the journal does not have the product")
        if draft.slot not in job.checks:
            return self._stored(draft, text, "the job has no such slot")
        slot = slot_named(draft.slot, job.config.platform)
        try:
            request = _request(slot, product, job.config)
            found = check(text, request, job.checks[draft.slot])
        except AdwrightError as error:
            return self._stored(draft, text, error.what)
        return Checked(tuple(sorted(found, key=lambda one: one.start)), _room(job, slot, text))

    def _stored(self, draft: Draft, text: str, why: str) -> Checked:
        found = draft.findings if text == draft.text else ()
        return Checked(found, note=f"This text could not be checked: {why}.")

    def _job(self, draft: Draft) -> _Job | str:
        """The job of a draft, or why it is not known."""
        name = draft.provenance.job
        if name not in self._jobs:
            self._jobs[name] = self._read(name)
        return self._jobs[name]

    def _read(self, name: str) -> _Job | str:
        line = self._drafts.job(name)
        if line is None:
            return "the journal does not have the settings of its job"
        try:
            config = from_jsonable(WriteConfig, line["settings"])
            return _Job(config, check_configs(config))
        except (ConfigError, DataError) as error:
            return f"the settings of its job cannot be read: {error}"
        except (LookupError, TypeError):
            return "the settings of its job are not there"


def _request(slot: WriterSlot, product: Product, config: WriteConfig) -> AuthoringRequest:
    """What the text answers. Values that came out of a column of the table are not in the journal;
    a task that needs one is taken for an ad, whose checks are the same but for that value."""
    known = {one.name for one in slot.task.presented}
    values = tuple(pair for pair in config.values if pair[0] in known)
    given = {name for name, _ in values} | {"product"}
    if any(one.required and one.name not in given for one in slot.task.presented):
        return AuthoringRequest(task_named("ads"), product)
    labels = config.labels if slot.task.form == "label" else ()
    return AuthoringRequest(slot.task, product, values, labels)


def _room(job: _Job, slot: WriterSlot, text: str) -> tuple[RoomTaken, ...]:
    limit = limit_of(job.config, slot) or slot.characters
    return (RoomTaken("Characters", len(text), limit),) if limit else ()
