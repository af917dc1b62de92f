"""Write the parts of the documentation that follow from other files.

    python docs/_generate.py            write them
    python docs/_generate.py --check    say which are out of date, and exit with 1

- Between `<!-- generated: NAME -->` and `<!-- end -->` of any page: a table of results, from
  benchmarks/results/*.json. A figure that no file holds is "not measured yet".
- docs/cli.md: the command line reference, from the commands themselves.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from _audit import AUDIT
from _authoring import AUTHORING
from _command_line import cli_page
from _creative import CREATIVE
from _delivery import DELIVERY
from _editing import EDITING
from _faces import FACES
from _floors import read_floors
from _floors import table as rooms
from _language_models import LANGUAGE_MODELS
from _lifetime import LIFETIME
from _operating import OPERATING
from _programs import PROGRAMS
from _ranking import RANKING
from _retrieval import RETRIEVAL
from _security import SECURITY
from _sequences import SEQUENCES
from _tuning import TUNING

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "results",
            "self-supervision",
            "hcn",
            "hstu",
            "hstu-results",
            "cascade",
            "policies",
            "creatives-results",
            "experiments",
            "ad-life",
            "cycle",
            "service",
            "language-models",
            "tuning",
            "tuning-choice",
            "adapters",
            "offsite",
            "security",
            "which-model",
            "lifetime",
            "programs",
            "authoring",
            "judging-ads",
            "editing-ads",
            "visibility",
            "operating",
            "floors",
            "ad-life",
        )
    ),
)
TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    **RANKING,
    **DELIVERY,
    **RETRIEVAL,
    **SEQUENCES,
    **LANGUAGE_MODELS,
    **TUNING,
    **SECURITY,
    **LIFETIME,
    **PROGRAMS,
    **AUTHORING,
    **CREATIVE,
    **EDITING,
    **FACES,
    **AUDIT,
    **OPERATING,
    "floors": lambda: rooms(read_floors(ROOT)),
}


def with_tables(text: str) -> str:
    """The text of a page with its generated parts written anew."""

    def fill(match: re.Match[str]) -> str:
        body = "\n".join(TABLES[match[1]]())
        return f"<!-- generated: {match[1]} -->\n\n{body}\n\n<!-- end -->"

    return re.sub(r"<!-- generated: ([\w-]+) -->.*?<!-- end -->", fill, text, flags=re.DOTALL)


def main() -> int:
    """Write or check; the exit code."""
    wanted = {page: with_tables(page.read_text("utf-8")) for page in PAGES}
    wanted[ROOT / "docs" / "cli.md"] = cli_page()
    old = [
        page
        for page, text in wanted.items()
        if not page.is_file() or page.read_text("utf-8") != text
    ]
    for page in old:
        if "--check" in sys.argv:
            sys.stderr.write(f"{page.relative_to(ROOT)} is out of date\n")
        else:
            page.write_text(wanted[page], "utf-8")
    return 1 if old and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
