"""What it takes to add an engine of language models: how many files of the package it touches.

python -m benchmarks.common.adding.engine
"""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["add_engine", "copied", "edit"]

SOURCE = Path(__file__).resolve().parents[3] / "src"
_NEW = "adwright/lm/engine/reversing.py"
_OPEN = "adwright/lm/open_model.py"
_ENGINE = '''"""An engine that answers with the tokens of the prompt from the last to the first."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.base import TokenEngine
from adwright.lm.engine.capabilities import Capabilities
from adwright.lm.engine.generation import Cancellation, GenerationConfig, ModelInfo
from adwright.lm.engine.scripted import ByteTokens

__all__ = ["ReversingConfig", "ReversingModel"]


@dataclass(frozen=True)
class ReversingConfig:
    """Its name alone matters."""

    engine: ClassVar[str] = "reversing"
    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    capabilities: ClassVar[Capabilities] = Capabilities(title="reversing", models="none")

    model: str
    threads: int = 0
    offline: bool = False


class ReversingModel(TokenEngine):
    """Needs no weights."""

    def __init__(self, config: ReversingConfig) -> None:
        self._config = config

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return ModelInfo(self._config.model, "reversing")

    @property
    def tokens(self) -> ByteTokens:
        """Bytes."""
        return ByteTokens()

    def close(self) -> None:
        """Nothing to free."""

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        for answer in answers:
            for token in [*reversed(answer.prompt), *self.tokens.end_ids]:
                if answer.finish_reason is None:
                    answer.add(token)
                    yield
'''
#: What stands in open_model.py, and what is added behind it.
_EDITS = {
    "from adwright.lm.engine.http import HttpConfig, HttpModel\n": (
        "from adwright.lm.engine.reversing import ReversingConfig, ReversingModel\n"
    ),
    "    | XllamacppConfig\n": "    | ReversingConfig\n",
    "    match config:\n": (
        "        case ReversingConfig():\n            return ReversingModel(config)\n"
    ),
}


def add_engine(src: Path) -> int:
    """Add an engine to a copy of `src`; return how many files it changes or adds there."""
    with copied(src) as copy:
        edit(copy)
        own = [path.relative_to(copy) for path in copy.rglob("*.py")]
        return sum(
            not (src / one).is_file() or not filecmp.cmp(src / one, copy / one, shallow=False)
            for one in own
        )


def edit(copy: Path) -> None:
    """Add the engine to this copy of the source. Raises ValueError where it has no place there."""
    (copy / _NEW).write_text(_ENGINE, "utf-8")
    text = (copy / _OPEN).read_text("utf-8")
    for place, added in _EDITS.items():
        if text.count(place) != 1:
            raise ValueError(f"{_OPEN} holds {place!r} {text.count(place)} times")
        text = text.replace(place, place + added)
    (copy / _OPEN).write_text(text, "utf-8")


@contextmanager
def copied(src: Path) -> Iterator[Path]:
    """A copy of the source that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(src, copy, ignore=shutil.ignore_patterns("__pycache__"))
        yield copy


if __name__ == "__main__":
    print(add_engine(SOURCE))
