from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.models.sequential.dense import DenseRanker, DenseRetriever
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.sasrec import SASRec, SASRecConfig
from adwright.models.sequential.union import (
    RetrieverConfig,
    config_type,
    default_config,
    dense_network,
    retriever_config,
    sequence_model,
    sequence_retriever,
)
from tests.support.models.sequence_checks import DATA

SIZES: dict[str, Any] = {"width": 8, "max_length": 12, "blocks": 1, "heads": 2}
WIDTHS: dict[str, Any] = {"qk_width": 3, "v_width": 4, "kernel": "bucketed"}
CONFIGS: tuple[RetrieverConfig, ...] = (
    HSTUConfig(**SIZES, **WIDTHS),
    SASRecConfig(**SIZES),
    HSTURankerConfig(**SIZES, **WIDTHS, actions=3),
)
NETWORKS = (HSTU, SASRec, HSTURanker)


@dataclass(frozen=True)
class Asked:
    """A config with a retriever in it."""

    model: RetrieverConfig = field(default_factory=HSTUConfig)


@pytest.mark.parametrize(("config", "network"), list(zip(CONFIGS, NETWORKS, strict=True)))
def test_the_kind_leads_from_what_is_saved_to_the_network(config: Any, network: type) -> None:
    found = from_jsonable(config_type(config.kind), to_jsonable(config))
    assert found == config
    model = sequence_model(found, DATA.items)
    assert type(model) is network
    assert model.config == config


def test_a_retriever_is_read_from_a_table_by_its_kind() -> None:
    for config in CONFIGS[:2]:
        values = {"kind": config.kind, **to_jsonable(config)}
        assert retriever_config(values) == config
        assert from_jsonable(Asked, {"model": values}) == Asked(config)
    assert retriever_config({"blocks": 3}) == HSTUConfig(blocks=3)
    for values, message in (
        ({"kind": "gru"}, "no sequence model 'gru'"),
        ({"kind": "hstu_ranker"}, "no retriever"),
        ({"kind": "sasrec", "qk_width": 3}, "SASRecConfig, key qk_width"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_jsonable(Asked, {"model": values})


@pytest.mark.parametrize("config", CONFIGS[:2])
def test_popularity_starts_with_the_counts(config: Any) -> None:
    popular = replace(config, popularity=True)
    model = sequence_retriever(popular, DATA.items, count=DATA.count)
    plain = sequence_retriever(popular, DATA.items)
    assert model.bias is not None
    assert plain.bias is not None
    assert int(model.bias[1:].argmax()) == int(DATA.count[1:].argmax())
    assert torch.equal(plain.bias, plain.bias[:1].expand_as(plain.bias))


def test_each_model_has_a_network_to_export() -> None:
    kinds = [type(dense_network(sequence_model(c, DATA.items).eval())) for c in CONFIGS]
    assert kinds == [DenseRetriever, DenseRetriever, DenseRanker]


def test_the_defaults_have_one_size() -> None:
    hstu, sasrec = default_config("hstu"), default_config("sasrec")
    assert (type(hstu), type(sasrec)) == (HSTUConfig, SASRecConfig)
    for name in ("width", "max_length", "blocks", "heads", "popularity", "repeats", "loss"):
        assert getattr(hstu, name) == getattr(sasrec, name)
    with pytest.raises(ConfigError, match="no sequence model"):
        default_config("gru")


def test_what_a_config_says_of_its_model() -> None:
    hstu, sasrec = CONFIGS[:2]
    assert (hstu.reads_time, hstu.reads_request_time) == (True, True)
    assert not HSTUConfig(request_time="last_event").reads_request_time
    assert not HSTUConfig(time=False).reads_request_time
    assert (sasrec.reads_time, sasrec.reads_request_time, sasrec.truncates) == (False,) * 3
    assert HSTUConfig(truncate_after=1, truncate_to=5).truncates
    assert not hstu.without_time().reads_time
    assert sasrec.without_time() == sasrec
    assert sasrec.pair_cost == 1 * 3.0 * 8
    assert hstu.pair_cost == 1 * 0.3 * 2 * (3 + 4)


def test_the_heads_of_hstu_follow_its_width() -> None:
    hstu, sasrec = CONFIGS[:2]
    assert (hstu.resized(), sasrec.resized()) == (hstu, sasrec)
    wide = hstu.resized(width=16)
    assert isinstance(wide, HSTUConfig)
    assert (wide.width, wide.qk_width, wide.v_width) == (16, 8, 8)
    longer = hstu.resized(max_length=20, blocks=3)
    assert isinstance(longer, HSTUConfig)
    assert (longer.max_length, longer.blocks, longer.qk_width) == (20, 3, 3)
    assert sasrec.resized(width=16).width == 16
