"""The folder of a job: what it holds, and what of it is done already.

    job.json        what was asked for; another job is not mixed in
    edits.jsonl     the log of edits, which only grows
    ads/            an outcome an ad, written last: an ad that has one is done
    pictures/       the edited pictures
    edits.json, sheet.png, report.html      written at the end

    folder = JobFolder.opened("edits", asked)
    folder.outcome(ad)              # of an ad that is done, as its file was then; else None
    folder.keep(outcome, data)

The same command on the same folder goes on where it was stopped or killed. An ad that was cut off
between log and outcome is done again: the log then names its edit twice, which is true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_bytes, atomic_write_text
from adwright.core.config import settings
from adwright.core.errors import AdwrightError, ConfigError, ResourceError, ResumeError
from adwright.core.hashing import content_hash, sha256_file
from adwright.creative.editor.job.outcome import AdOutcome
from adwright.creative.editor.provenance.source_type import FileFormat

__all__ = ["JobFolder", "require_apart"]

_JOB, _LOG, _ADS, _PICTURES = "job.json", "edits.jsonl", "ads", "pictures"
_ENDINGS: Mapping[FileFormat, str] = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


@settings
class JobFolder:
    """path: of the folder. form: of its pictures."""

    path: Path
    form: FileFormat = "PNG"

    @classmethod
    def opened(
        cls, path: str | Path, asked: Mapping[str, Any], *, form: FileFormat, write: bool = True
    ) -> JobFolder:
        """The folder of a job that was asked for so, made where it is not there.

        write: False checks alone. Raises ResumeError where it holds a job that was asked otherwise,
        ResourceError where it holds something else.
        """
        place = Path(path)
        record = place / _JOB
        told = json.loads(json.dumps(asked, sort_keys=True))
        if record.is_file():
            before = _read(record)
            if other := sorted(key for key in told if before.get(key) != told[key]):
                raise ResumeError(
                    f"this folder holds a job with another {other[0]}",
                    where=str(place),
                    hint="name another folder with --out, or ask for the same",
                )
        elif place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ResourceError(
                "this path holds something that is no job of edits",
                where=str(place),
                hint="name another folder with --out",
            )
        elif write:
            (place / _ADS).mkdir(parents=True, exist_ok=True)
            (place / _PICTURES).mkdir(exist_ok=True)
            atomic_write_text(record, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        return cls(place, form)

    @property
    def log(self) -> Path:
        """The log's file."""
        return self.path / _LOG

    def outcome(self, ad: str, source: Path) -> AdOutcome | None:
        """What became of an ad whose picture is still the one that it was; None where nothing did,
        or it could not be read then: that may have changed."""
        path = self._record(ad)
        try:
            found = AdOutcome.of_json(path.read_text("utf-8"), source=str(path))
            same = found.status != "failed" and found.sha256 == sha256_file(source)
        except (OSError, AdwrightError):
            return None
        if found.output and not (self.path / found.output).is_file():
            return None
        return found if same else None

    def keep(self, outcome: AdOutcome, data: bytes | None) -> AdOutcome:
        """Write the picture, where there is one, and then the outcome; returns it with its file.

        Raises ResourceError where the disk refuses.
        """
        if data is not None:
            output = f"{_PICTURES}/{_slug(outcome.ad)}{_ENDINGS[self.form]}"
            outcome = replace(outcome, output=output)
            atomic_write_bytes(self.path / output, data)
        atomic_write_text(self._record(outcome.ad), outcome.to_json())
        return outcome

    def _record(self, ad: str) -> Path:
        return self.path / _ADS / f"{_slug(ad)}.json"


def require_apart(out: str | Path, ads: str | Path | None, pictures: Iterable[Path]) -> None:
    """Raise ConfigError where a job's folder lies in the folder of the ads, which would be read
    again with it, or where one of the pictures lies in the job's folder."""
    place = Path(out).resolve()
    if ads is not None and Path(ads).is_dir() and place.is_relative_to(Path(ads).resolve()):
        raise ConfigError(
            "the edited pictures would lie among the ads",
            where=str(out),
            hint="name a folder outside that of the ads with --out",
        )
    for path in pictures:
        if path.resolve().is_relative_to(place):
            raise ConfigError(
                "an ad's picture lies in the folder of the edited ones",
                where=str(path),
                hint="name another folder with --out: no input is ever overwritten",
            )


def _slug(ad: str) -> str:
    """A file name of an ad's id, which no other ad has."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", ad).strip("-.")[:48]
    return f"{plain or 'ad'}-{content_hash(ad)[:8]}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(
            f"what was asked for cannot be read: {error}", where=str(path), hint="name another"
        ) from error
    return found if isinstance(found, dict) else {}
