"""A worker of Ray as a fork of the server of `forks`: its own program, in a group of its own.

Ray ends a worker with its process group, and a fork begins in that of the tests.
"""

from __future__ import annotations

import os
import runpy
from importlib.util import find_spec
from pathlib import Path

if __name__ == "__main__":
    os.setpgrp()
    found = find_spec("ray")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("ray")
    program = Path(found.origin).parent / "_private" / "workers" / "default_worker.py"
    runpy.run_path(str(program), run_name="__main__")
