"""A copy of src that an addition is made in, and the files that it touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


class Copied:
    """A copy of src; touched: the files, relative to it, that were added or changed."""

    def __init__(self, src: Path) -> None:
        self.src, self.touched = src, set[str]()

    def add(self, path: str, text: str) -> None:
        """Write a new file. Raises FileExistsError where there is one."""
        with (self.src / path).open("x", encoding="utf-8") as file:
            file.write(text)
        self.touched.add(path)

    def change(self, path: str, *changes: tuple[str, str]) -> None:
        """Replace texts that stand once in a file. Raises ValueError where one does not."""
        text = (self.src / path).read_text("utf-8")
        for before, after in changes:
            if text.count(before) != 1:
                raise ValueError(f"{path} has {text.count(before)} times: {before}")
            text = text.replace(before, after)
        (self.src / path).write_text(text, "utf-8")
        self.touched.add(path)


@contextmanager
def copied(src: Path, *, compiled: bool = False) -> Iterator[Copied]:
    """A temporary copy of `src`, the folder that holds the package. compiled: together with what
    Python has compiled of it, which spares whoever runs the copy seconds."""
    with TemporaryDirectory() as folder:
        to = Path(folder) / "src"
        ignore = None if compiled else shutil.ignore_patterns("__pycache__")
        shutil.copytree(src, to, ignore=ignore)
        yield Copied(to)


def files_touched(src: Path, put: Callable[[Copied], None]) -> int:
    """How many files of `src` an addition touches, its own included."""
    with copied(src) as copy:
        put(copy)
        return len(copy.touched)
