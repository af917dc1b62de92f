"""The whole taxonomy of the survey: what is here, what is wrapped, what is missing and why.

Han, Gao, Liu, Zhang & Zhang, "Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive
Survey", 2024, arXiv 2403.14608. Every method that the survey names has an entry; below them are
the ones that peft has beyond the survey. What is here is read off the classes of methods and the
kinds of peft; taxonomy.toml lists what is missing. The docs print `as_markdown`.

>>> from adwright.tuning.taxonomy import tree
>>> next(entry.status for entry in tree() if entry.name == "LoRA")
'ours'
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from adwright.core.config import settings
from adwright.tuning.methods import METHODS, Method
from adwright.tuning.modules import BRANCHES, Branch
from adwright.tuning.peft_kinds import PeftKind, kinds, taxonomy_file

Status = Literal["ours", "wrapped", "not done"]


@settings
class Entry:
    """One name in the taxonomy. by: the class of ours, or the kind of peft, that implements it;
    None where it is not done. note: settings that give it, what differs, or why it is missing.
    """

    name: str
    branch: Branch
    by: type[Method] | PeftKind | None = None
    note: str = ""

    @property
    def status(self) -> Status:
        """Whether it is ours, wrapped or not done."""
        if self.by is None:
            return "not done"
        return "wrapped" if isinstance(self.by, PeftKind) else "ours"


@cache
def tree() -> tuple[Entry, ...]:
    """Every method: ours, wrapped, and not done."""
    return (
        *(
            Entry(variant.name, variant.branch, method, variant.note)
            for method in METHODS.values()
            for variant in method.variants
        ),
        *(Entry(kind.name, kind.branch, by, kind.note) for by, kind in kinds().items()),
        *(
            Entry(name, branch, None, why)
            for branch, reasons in taxonomy_file()["missing"].items()
            for names, why in reasons.items()
            for name in names.split(", ")
        ),
    )


def as_markdown() -> str:
    """Render the tree, a table per branch: method, status, what to write, note."""
    lines: list[str] = []
    for branch in BRANCHES:
        lines += [f"### {branch[0].upper()}{branch[1:]}", ""]
        lines += ["| method | status | write | note |", "|---|---|---|---|"]
        for entry in tree():
            if entry.branch != branch:
                continue
            match entry.by:
                case None:
                    write = ""
                case PeftKind():
                    write = f"`Wrapped(PeftKind.{entry.by.name})`"
                case method:
                    write = f"`{method.__name__}`"
            lines.append(f"| {entry.name} | {entry.status} | {write} | {entry.note} |")
        lines.append("")
    return "\n".join(lines)
