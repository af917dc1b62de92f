"""Several answers at a time, piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    LanguageModel,
    Prompt,
)

#: The index of an answer, and a piece of it.
Piece = tuple[int, Chunk]


def pieces(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    settings: GenerationConfig,
    cancel: Cancellation,
) -> Iterator[Piece]:
    """The answers to B prompts in turns, a piece of each; answer i draws from `seed + i`.

    An engine that computes the requests of several callers together does so here too. Closing the
    iterator ends all of them.
    """
    streams = {
        index: model.stream(prompt, replace(settings, seed=settings.seed + index), cancel=cancel)
        for index, prompt in enumerate(prompts)
    }
    try:
        while streams:
            for index, chunks in list(streams.items()):
                chunk = next(chunks, None)
                if chunk is None:
                    del streams[index]
                else:
                    yield index, chunk
    finally:
        for chunks in streams.values():
            if isinstance(chunks, Generator):
                chunks.close()
