"""Add a made-up engine of language models, which answers backwards, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

ENGINE = '''"""An engine that answers with the tokens of the prompt from the last to the first."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.base import TokenEngine
from adwright.lm.engine.generation import Capabilities
from adwright.lm.engine.generation import Cancellation, GenerationConfig, ModelInfo
from adwright.lm.engine.scripted import ByteTokens


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


def put_engine(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.add("adwright/lm/engine/reversing.py", ENGINE)
    copy.change(
        "adwright/lm/open_model.py",
        (
            "import HttpConfig, HttpModel\n",
            "import HttpConfig, HttpModel\n"
            "from adwright.lm.engine.reversing import ReversingConfig, ReversingModel\n",
        ),
        ("    | XllamacppConfig\n", "    | XllamacppConfig\n    | ReversingConfig\n"),
        (
            "    match config:\n",
            "    match config:\n"
            "        case ReversingConfig():\n"
            "            return ReversingModel(config)\n",
        ),
    )
