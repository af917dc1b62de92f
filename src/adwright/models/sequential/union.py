"""The sequence models: the closed union of what is trained on item sequences, saved and served.

Adding a retriever of the next item takes its own file and this one: its config and network in the
unions, its kind in `config_type`, its constructor in `sequence_retriever`, and where it is to be
exported, its network over padded tensors in `dense_network`. What other files ask of a model is
here, or an attribute of its config (`kind`, `title` and the properties of `SequenceConfig`).

`kind` names a model on the command line, in run files and in artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.models.sequential.dense import DenseRanker, DenseRetriever
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.losses import LossConfig
from adwright.models.sequential.sasrec import SASRec, SASRecConfig

SequenceRetriever = HSTU | SASRec
SequenceNetwork = SequenceRetriever | HSTURanker
_RetrieverConfig = HSTUConfig | SASRecConfig


def config_type(kind: str) -> type[_RetrieverConfig]:
    """The config class of a kind. Raises ConfigError for an unknown one."""
    match kind:
        case "hstu":
            return HSTUConfig
        case "sasrec":
            return SASRecConfig
        case "hstu_ranker":
            return HSTURankerConfig
        case other:
            raise ConfigError(
                f"there is no sequence model {other!r}",
                where="kind",
                hint='use "hstu" or "sasrec"',
            )


def retriever_config(values: Mapping[str, Any]) -> _RetrieverConfig:
    """The retriever's config of a table in a run file, whose kind is HSTU where it names none.

    Raises ConfigError for an unknown kind or a ranker, and as `from_jsonable`.
    """
    cls = config_type(str(values.get("kind", "hstu")))
    if issubclass(cls, HSTURankerConfig):
        raise ConfigError(
            "a ranker of actions is no retriever of the next item",
            where=f"kind {cls.kind}",
            hint='use "hstu" or "sasrec"',
        )
    return from_jsonable(cls, {k: v for k, v in values.items() if k != "kind"})


def _read(values: object) -> object:
    """Read a table as the config that its kind names; left alone, pydantic tries each in turn."""
    return retriever_config(values) if isinstance(values, Mapping) else values


RetrieverConfig = Annotated[_RetrieverConfig, BeforeValidator(_read)]


def sequence_retriever(
    config: RetrieverConfig,
    items: int,
    *,
    count: NDArray[np.int64] | None = None,
    context_sizes: tuple[int, ...] = (),
) -> SequenceRetriever:
    """A new retriever of N = `items` items; count: int64 [N + 1], see `SequenceModel`."""
    match config:
        case HSTUConfig():
            return HSTU(config, items, count=count, context_sizes=context_sizes)
        case SASRecConfig():
            return SASRec(config, items, count=count, context_sizes=context_sizes)


def sequence_model(
    config: RetrieverConfig, items: int, *, context_sizes: tuple[int, ...] = ()
) -> SequenceNetwork:
    """A new model of N = `items` items, retriever or ranker, whose weights are yet to be loaded."""
    if isinstance(config, HSTURankerConfig):
        return HSTURanker(config, items, context_sizes=context_sizes)
    return sequence_retriever(config, items, context_sizes=context_sizes)


def dense_network(model: SequenceNetwork, *, timed: bool = True) -> DenseRetriever | DenseRanker:
    """The network over padded tensors that is exported to ONNX.

    timed: whether the sequences have times. Raises ConfigError for a model that has none.
    """
    match model:
        case HSTURanker():
            return DenseRanker(model)
        case HSTU() | SASRec():
            return DenseRetriever(model, timed=timed)
        case _:
            raise ConfigError(f"{type(model).__name__} has no network to export", where="model")


def default_config(kind: str) -> RetrieverConfig:
    """For the next basket of Complete Journey, of a size that two cores train in ten minutes.

    Raises ConfigError for an unknown kind.
    """
    sizes: dict[str, Any] = {
        **{"width": 64, "max_length": 1024, "blocks": 2, "heads": 4},
        **{"popularity": True, "repeats": True},
        # Over 68,509 items the exact sum for some positions teaches more than draws for all.
        "loss": LossConfig("exact", positions=512),
    }
    match kind:
        case "hstu":
            return HSTUConfig(qk_width=16, v_width=16, **sizes)
        case "sasrec":
            return SASRecConfig(attention_dropout=0.0, **sizes)
        case other:
            return config_type(other)(**sizes)
