"""Make docs/_static/report.png: the page of a small demonstration, as a browser shows its first
screen.

    python docs/_report.py            run the demonstration (minutes), and take the picture
    python docs/_report.py PAGE       take the picture of a report.html that is there

It needs Chromium or Chrome on the path. The picture is of what ran, so nothing compares it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["main"]

PICTURE = Path(__file__).resolve().parent / "_static" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DEMO = ("demo", "--households", "0.05", "--no-cascade")
#: Pixels: what stands on the first screen, without the rows below it.
SIZE = (1000, 1010)


def take(page: Path) -> None:
    """Write PICTURE of a page. Raises FileNotFoundError without a browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is on the path")
    with TemporaryDirectory() as scratch:
        taken = Path(scratch) / "page.png"
        subprocess.run(
            [
                browser,
                *("--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"),
                f"--user-data-dir={scratch}/profile",
                f"--window-size={SIZE[0]},{SIZE[1]}",
                f"--screenshot={taken}",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        shutil.copyfile(taken, PICTURE)


def main(arguments: list[str]) -> int:
    """Run the demonstration unless a page is named, and take its picture; the exit status."""
    if arguments:
        take(Path(arguments[0]))
        return 0
    with TemporaryDirectory() as out:
        command = [sys.executable, "-m", "adwright", *DEMO, "--out", out, "--force"]
        subprocess.run(command, check=True)
        take(Path(out) / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
