"""A language model whose answers a function gives, and what a writing job needs beside it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from adwright.authoring.writer.asking import OpenedWriter
from adwright.authoring.writer.products import ProductTable, read_products
from adwright.lm.engine.base import AnswerWriter, TokenEngine
from adwright.lm.engine.generation import FURTHER, Cancellation, GenerationConfig, ModelInfo
from adwright.lm.engine.scripted import ByteTokens


class Teller(TokenEngine):
    """Answers a prompt by `tell(prompt, call)`, {drawn} in it a letter that follows from the seed;
    what that raises, the whole call raises.

    prompts: all that it was asked. calls: how many prompts each call had, and its settings.
    """

    _vocabulary = 257

    def __init__(
        self, tell: Callable[[str, int], str], *, engine: str = "scripted", name: str = "teller"
    ) -> None:
        self.tell, self._tokens = tell, ByteTokens()
        self._info = ModelInfo(name, engine, 0, "", FURTHER)
        self.prompts: list[str] = []
        self.calls: list[tuple[int, GenerationConfig]] = []

    def close(self) -> None:
        """Nothing to free."""

    def _write(
        self, answers: Sequence[AnswerWriter], config: GenerationConfig, cancel: Cancellation | None
    ) -> Generator[None, None, None]:
        self.calls.append((len(answers), config))
        for row, answer in enumerate(answers):
            prompt = bytes(answer.prompt).decode()
            self.prompts.append(prompt)
            drawn = "abcdefgh"[config.seed_of(row) % 8]
            told = self.tell(prompt, len(self.calls)).replace("{drawn}", drawn)
            tokens = (*self._tokens.encode(told), 256)
            for token in tokens:
                if answer.finish_reason is None:
                    answer.add(token, -1.0, ())
            yield


def opened(model: Teller, *, adapter_hash: str = "") -> OpenedWriter:
    """The model as a job takes it."""
    return OpenedWriter(model, model.info.name, model.info.engine, "", adapter_hash)


def table_of(folder: Path, *titles: str, count: int = 0) -> ProductTable:
    """Products p0, p1, ... of these titles, or of so many."""
    titles = titles or tuple(f"Tea {number}" for number in range(count))
    rows = "".join(f'p{at},"{title}"\n' for at, title in enumerate(titles))
    path = folder / "products.csv"
    path.write_text(f"id,title\n{rows}")
    return read_products(path)
