"""Pin what development needs, each package by version and hash, into this folder.

    python requirements/lock.py        # needs uv; `make lock` installs it

dev.lock has all but torch. torch.lock has torch as the public index serves it and what it alone
brings, which for Linux is CUDA; an index of one's own may serve builds for the processor, whose
hashes are others. Neither file names an index: pip takes the one that it is configured for, and the
hashes decide. uv asks the index that UV_DEFAULT_INDEX names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate")
#: torch, and the packages that nothing but torch asks for.
OF_TORCH = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)(?===)")
HEAD = "# Made by `make lock`; do not edit.\n"


def main() -> None:
    """Resolve all at once, so that both files fit together."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "-q", "--no-header", "--upgrade"]
    command += [*OPTIONS, "--extra", "dev", "pyproject.toml", "requirements/build.in"]
    found = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    # An entry begins at the margin, its hashes do not.
    entries = re.split(r"\n(?=\S)", found.stdout.strip())
    for name, whether in (("torch", True), ("dev", False)):
        kept = [entry for entry in entries if bool(OF_TORCH.match(entry)) == whether]
        (HERE / f"{name}.lock").write_text(HEAD + "\n".join(kept) + "\n", "utf-8")


if __name__ == "__main__":
    main()
