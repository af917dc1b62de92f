"""A run's folder: its trace, its pictures, what came of it, and a page; checked when read again.

    mark = keep_run(folder, report, ready.checked.script, KeptTask("Set the discount ..."))
    read_run(folder, mark)           # ArtifactCorruptError where anything was changed

    trace.jsonl     step by step, each line with the hash of the one before
    step-001.png    pictures
    run.json        verdict, changes, script, and the hashes of all of the above
    report.html     the same for people

The mark is the hash of run.json, and so of everything: who has noted it sees any later change.
"""

from __future__ import annotations

import json
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from adwright.agent.language.script import Script, print_script, read_script
from adwright.agent.run.runner import RunReport, run_page
from adwright.agent.run.trace import read_sending, read_trace
from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import AdwrightError, ArtifactCorruptError, ConfigError, ResourceError
from adwright.core.hashing import sha256_bytes, sha256_file
from adwright.core.regular import read_regular

_RUN, _TRACE, _PAGE = "run.json", "trace.jsonl", "report.html"
_MOST_BYTES = 64 << 20


@settings
class KeptTask:
    """What was asked, and how its script was made. name: of the macro."""

    task: str
    source: Literal["macro", "plan", "model", "replay"] = "plan"
    name: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    dry: bool = False


@settings
class KeptRun:
    """run.json. report: without its steps, which the trace holds, and with no more of the document
    than its name and version. trace: its SHA-256; pictures: names and SHA-256."""

    task: KeptTask
    script: tuple[str, ...]
    report: RunReport
    trace: str
    pictures: tuple[tuple[str, str], ...] = field(default=())


@settings
class ReadRun:
    """A run as it was kept; mark: see above."""

    task: KeptTask
    script: Script
    report: RunReport
    mark: str


def keep_run(folder: Path, report: RunReport, script: Script, task: KeptTask) -> str:
    """Write run.json and the page beside the trace; the mark. Raises ResourceError where the folder
    cannot be written."""
    names = sorted({one.picture for one in report.steps if one.picture})
    start = report.document.state_by_name[report.document.start]
    little = replace(report.document, states=(start,), elements=(), edges=())
    kept = KeptRun(
        task,
        tuple(print_script(script).splitlines()),
        replace(report, steps=(), document=little),
        sha256_file(folder / _TRACE),
        tuple((name, sha256_file(folder / name)) for name in names),
    )
    text = json.dumps(to_jsonable(kept), indent=1) + "\n"
    atomic_write_text(folder / _RUN, text, mode=0o600)
    mark = sha256_bytes(text.encode())
    write_report(folder / _PAGE, ReadRun(task, script, report, mark), folder)
    return mark


def read_run(folder: Path, mark: str = "") -> ReadRun:
    """The run of a folder. mark: that `keep_run` returned; empty where nobody noted it.

    Raises ArtifactCorruptError naming what does not fit; ConfigError where there is no run.
    """
    path = folder / _RUN
    if not path.is_file():
        left = read_sending(folder / _TRACE).unknown
        if left:
            raise ConfigError(
                f"the run was killed as it sent: {'; '.join(one.sentence() for one in left)}",
                where=str(folder),
                hint="whether it was sent nobody knows: look at the app before you do it again",
            )
        raise ConfigError(
            "there is no run that came to its end",
            where=str(folder),
            hint="name the folder that `adwright agent do` or `replay` wrote",
        )
    try:
        data = read_regular(path, most=_MOST_BYTES)
        kept = from_jsonable(KeptRun, json.loads(data), source=str(path))
        script = read_script("\n".join(kept.script))
    except (OSError, ValueError, RecursionError, AdwrightError) as error:
        raise _broken(path, f"it cannot be read: {error}") from error
    found = sha256_bytes(data)
    if mark and found != mark.lower():
        raise _broken(path, f"its mark is {found}")
    steps, verdict = read_trace(folder / _TRACE)
    if kept.trace != sha256_file(folder / _TRACE) or verdict != kept.report.verdict:
        raise _broken(folder / _TRACE, "it is not that of this run")
    for name, digest in kept.pictures:
        picture = folder / Path(name).name
        if not picture.is_file() or sha256_file(picture) != digest:
            raise _broken(picture, "the picture is gone, or another one")
    return ReadRun(kept.task, script, replace(kept.report, steps=steps), found)


def set_aside(folder: Path) -> Path:
    """Give a run's folder another name, as another run of its task takes its place; the new one."""
    number = 1
    while (other := folder.with_name(f"{folder.name}-tried-{number}")).exists():
        number += 1
    try:
        return folder.rename(other)
    except OSError as error:
        raise ResourceError(
            f"the folder of a run cannot be moved: {error.strerror}",
            where=str(folder),
            hint="look at its rights, and at what else uses it",
        ) from error


def write_report(path: Path, run: ReadRun, folder: Path) -> None:
    """Write the page of a run. folder: where its pictures lie."""
    title = run.task.task or f"macro {run.task.name}"
    page = run_page(run.report, run.script, title=title, folder=folder)
    atomic_write_text(path, page, mode=0o600)


def _broken(path: Path, why: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(
        f"the run was changed after it ended: {why}",
        where=str(path),
        hint="do not rely on it",
    )
