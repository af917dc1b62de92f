"""Checks of the job that wrote a draft, as its journal tells: limits, voice, policy, facts.

    checks = JobChecks(drafts)
    checks.check(draft, "Assam tea, 80 bags").findings

Where the journal does not have the product or the job's settings, only what was found when the
draft was written is known, and the page says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from adwright.authoring.checks.limits import CheckConfig, brands_of, limit_named
from adwright.authoring.checks.verdict import check
from adwright.authoring.tasks import AuthoringRequest
from adwright.authoring.writer.checking import check_configs
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import Draft, Drafts
from adwright.authoring.writer.slots import WriterSlot, slot_named
from adwright.console.review.checking import Checked, RoomTaken
from adwright.core.config import from_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError


@dataclass(frozen=True)
class _KnownJob:
    """config: of the job. checks: by slot."""

    config: WriteConfig
    checks: dict[str, CheckConfig]


class JobChecks:
    """Checks by the settings in a journal. Of each job and product they are read once."""

    def __init__(self, drafts: Drafts) -> None:
        self._drafts = drafts
        self._jobs: dict[str, _KnownJob | str] = {}
        # Brands of the products that have texts, and how many texts were looked at for them.
        self._brands: frozenset[str] = frozenset()
        self._looked_at = 0
        self._products: set[str] = set()

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
            labels = job.config.labels if slot.task.form == "label" else ()
            request = AuthoringRequest(slot.task, product, draft.values, labels)
            config = replace(job.checks[draft.slot], brands=self._all_brands())
            found = check(text, request, config)
        except AdwrightError as error:
            return self._stored(draft, text, error.what)
        return Checked(found, _room(job.checks[draft.slot], slot, text))

    def _all_brands(self) -> frozenset[str]:
        """The brands of all products of the journal, so that another one's is found."""
        states = self._drafts.states()
        if len(states) > self._looked_at:
            new = {key[0] for key in islice(states, self._looked_at, None)} - self._products
            found = (self._drafts.product(one) for one in new)
            self._brands |= brands_of(one for one in found if one is not None)
            self._products |= new
            self._looked_at = len(states)
        return self._brands

    def _stored(self, draft: Draft, text: str, why: str) -> Checked:
        found = draft.findings if text == draft.text else ()
        return Checked(found, note=f"This text could not be checked: {why}.")

    def _job(self, draft: Draft) -> _KnownJob | str:
        """The job of a draft, or why it is not known."""
        name = draft.provenance.job
        if name not in self._jobs:
            self._jobs[name] = self._read(name)
        return self._jobs[name]

    def _read(self, name: str) -> _KnownJob | str:
        line = self._drafts.job(name)
        if line is None:
            return "the journal does not have the settings of its job"
        try:
            config = from_jsonable(WriteConfig, line["settings"])
            return _KnownJob(config, check_configs(config))
        except (ConfigError, DataError) as error:
            return f"the settings of its job cannot be read: {error}"
        except (LookupError, TypeError):
            return "the settings of its job are not there"


def _room(config: CheckConfig, slot: WriterSlot, text: str) -> tuple[RoomTaken, ...]:
    """Of the limit of a platform, and of what it shows; else of the slot itself."""
    if not config.limit:
        own = slot.characters
        return (RoomTaken("Characters", len(text), own),) if own else ()
    limit = limit_named(config.limit)
    size, unit = limit.size(text), limit.unit.capitalize()
    found = [RoomTaken(f"{unit} of {limit.name}", size, limit.most)]
    if limit.visible:
        found.append(RoomTaken(f"{unit} that are shown", size, limit.visible))
    return tuple(found)
