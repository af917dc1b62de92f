"""Counters of programs, for Prometheus. They name no tenant, no model and no variable."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adwright.programs.dispatch.dispatcher import DispatchStats
from adwright.programs.graph import Chain
from adwright.service.programs.book import ProgramBook
from adwright.service.programs.engine_room import EngineRoom
from adwright.service.programs.open_program import OpenProgram
from adwright.web.gate import ServiceMetrics


class ProgramMeasures(Collector):
    """What is read of the book when Prometheus asks."""

    def __init__(self, metrics: ServiceMetrics, book: ProgramBook) -> None:
        self._book = book
        metrics.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The measures as they are now."""
        book = self._book
        programs = GaugeMetricFamily(
            "adwright_programs", "Open programs by state of their outputs.", labels=["state"]
        )
        states = Counts(one.state for one in book.programs)
        for state in ("running", "done", "failed"):
            programs.add_metric([state], states[state])
        yield programs
        ended = CounterMetricFamily(
            "adwright_programs_ended", "Programs that have ended, by why.", labels=["why"]
        )
        for why, count in sorted(book.ended.items()):
            ended.add_metric([why], count)
        yield ended
        yield CounterMetricFamily(
            "adwright_program_parts", "Programs and parts of them taken.", book.submitted
        )
        chains = GaugeMetricFamily(
            "adwright_program_chains", "Chains of open programs by state.", labels=["state"]
        )
        for state, count in sorted(_chains(book.programs).items()):
            chains.add_metric([state], count)
        yield chains
        yield GaugeMetricFamily(
            "adwright_program_owed_tokens",
            "Tokens that chains which are not over may read and write.",
            book.owed(),
        )
        yield GaugeMetricFamily(
            "adwright_program_waiting",
            "Requests that wait for a text.",
            sum(one.waiting for one in book.programs),
        )


class EngineMeasures(Collector):
    """What the engines have done. They are told apart by their ids, which the operator chose."""

    def __init__(self, room: EngineRoom) -> None:
        self._room = room

    def collect(self) -> Iterator[Metric]:
        """The measures as they are now; none before the engines are open."""
        dispatcher = self._room.dispatcher
        if dispatcher is None:
            return
        stats = dispatcher.stats
        tokens = CounterMetricFamily(
            "adwright_program_tokens",
            "Tokens of chains that have ended: read, of these found in a cache, and written.",
            labels=["kind"],
        )
        tokens.add_metric(["read"], stats.read_tokens)
        tokens.add_metric(["cached"], stats.cached_tokens)
        tokens.add_metric(["written"], stats.written_tokens)
        yield tokens
        yield GaugeMetricFamily(
            "adwright_program_queue", "Chains that are ready and on no engine.", _queue(stats)
        )
        yield CounterMetricFamily(
            "adwright_program_decisions", "Decisions of the scheduler.", stats.decisions
        )
        yield CounterMetricFamily(
            "adwright_program_cache_checks",
            "Answers with cached tokens that were computed again without them.",
            stats.cache_checks,
        )
        for name, text, values in (
            ("engine_alive", "Whether it answers.", stats.alive),
            ("engine_chains", "Chains there.", stats.running),
            ("engine_cache_off", "Whether its prefix cache lied.", _lies(stats)),
        ):
            family = GaugeMetricFamily(f"adwright_{name}", text, labels=["engine"])
            for engine_id, value in values.items():
                family.add_metric([engine_id], float(value))
            yield family
        deaths = CounterMetricFamily(
            "adwright_engine_deaths", "How often it was gone.", labels=["engine"]
        )
        for engine_id, count in stats.deaths.items():
            deaths.add_metric([engine_id], count)
        yield deaths


def _queue(stats: DispatchStats) -> int:
    return max(0, stats.chains - sum(stats.running.values()))


def _lies(stats: DispatchStats) -> dict[str, bool]:
    return {engine_id: engine_id in stats.cache_lies for engine_id in stats.alive}


def _chains(programs: tuple[OpenProgram, ...]) -> Counts[str]:
    found = Counts({state: 0 for state in ("waiting", "running", "done", "failed")})
    for one in programs:
        running = set(one.session.running)
        for node_id, node in one.session.graph.nodes.items():
            if isinstance(node, Chain):
                state = one.session.variable(node.output).state
                if state == "pending":
                    found["running" if node_id in running else "waiting"] += 1
                else:
                    found["done" if state == "set" else "failed"] += 1
    return found
