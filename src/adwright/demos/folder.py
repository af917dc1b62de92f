"""The folder of a demonstration: whose it is, and the pages in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ResourceError
from adwright.metrics.reports.report import page_environment

#: What a part of the demonstration leaves in its folder, with what it was asked for.
MARK = "demo.json"


@settings
class DemoPart:
    """What a part of the demonstration is asked for. seed: of what is drawn. offline: never
    download. out: its folder."""

    out: Path
    seed: int = 0
    offline: bool = False


def require_ours(folder: Path, mark: str) -> None:
    """Raise ResourceError where the folder holds something and not the file `mark`, which every
    demonstration leaves."""
    if folder.exists() and any(folder.iterdir()) and not (folder / mark).exists():
        raise ResourceError(
            "this folder holds something that no demonstration made",
            where=str(folder),
            hint="name another folder, or remove it",
        )


def remove_demo(folder: Path, mark: str = MARK) -> None:
    """Remove what an earlier demonstration left, if anything. Raises as `require_ours`."""
    if folder.exists():
        require_ours(folder, mark)
        shutil.rmtree(folder)


def claim_folder(folder: Path, mark: str, config: object) -> None:
    """Write what was asked for, a dataclass, into the file `mark` of the folder.

    Raises ResourceError as `require_ours`.
    """
    require_ours(folder, mark)
    atomic_write_text(folder / mark, json.dumps(to_jsonable(config), indent=1) + "\n")


def write_demo_page(path: str | Path, template: str, values: Mapping[str, object]) -> None:
    """Write the page of a template with these values, whole or not at all.

    Raises ResourceError where the disk is full.
    """
    page = page_environment("adwright.demos").get_template(template).render(values)
    atomic_write_text(path, page)
