from __future__ import annotations

from prometheus_client import CollectorRegistry

from adwright.lm.engine.generation import Chunk, Usage
from adwright.service.lm.routes import LmMeasures, Watch


def test_tokens_and_times() -> None:
    registry = CollectorRegistry()
    measures = LmMeasures(registry)
    measures.used(Usage(3, 4))
    times = iter((10.0, 11.0, 11.5, 12.0, 14.0))
    watch = measures.watch(lambda: next(times))
    assert isinstance(watch, Watch)
    watch.saw((0, Chunk("a", (1,))))
    watch.saw((1, Chunk("a", (1,))))
    watch.saw((0, Chunk("b", (2,), None, "stop", Usage(5, 3))))
    watch.saw((1, Chunk("b", (2,), None, "stop", Usage(5, 1))))
    # Both are answers to one prompt.
    assert watch.end(2) == Usage(5, 4)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"adwright_lm_{name}", labels)

    assert value("tokens_total", kind="prompt") == 8
    assert value("tokens_total", kind="answer") == 8
    assert (value("first_token_seconds_sum"), value("first_token_seconds_count")) == (1.0, 1)
    # One token alone has no next one.
    assert (value("token_seconds_sum"), value("token_seconds_count")) == (0.5, 1)
