"""Any model as an engine, on one whose answers are written beforehand."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    ConfigError,
    ResourceError,
    ValueInvalidError,
)
from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import (
    Cancellation,
    EngineBusyError,
    EngineFailedError,
    EngineGoneError,
    GenerationConfig,
    Health,
    OneDomain,
    error_from_wire,
    error_to_wire,
    generation_settings,
)
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.programs.engines.measured_curve import (
    curve_file,
    load_curve,
    measure_curve,
    measured_curve,
)
from adwright.programs.engines.model_engine import ModelEngine, openvino_engine
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, ExecutionEngine
from tests.support.lm.tiny_gguf import save_tiny_gguf

CAN = EngineCapabilities(("scripted",), max_batch=4)
UNCACHED = EngineCapabilities(("scripted",), prefix_cache=False, max_batch=4)


class Falling(ScriptedModel):
    """One whose answers end in an error."""

    state: Health = "ready"
    opened = 0

    def __init__(self) -> None:
        super().__init__(ScriptedConfig(("a reply",)))
        Falling.opened += 1

    def health(self) -> Health:
        return self.state

    def _write(
        self, answers: Sequence[AnswerWriter], config: GenerationConfig, cancel: Cancellation | None
    ) -> Generator[None, None, None]:
        yield from ()
        raise ResourceError("it fell", where="here")


def scripted(*replies: str, seconds: float = 0.0) -> ModelEngine:
    config = ScriptedConfig(replies or ("a reply",), seconds_per_token=seconds)
    return ModelEngine(lambda: ScriptedModel(config), CAN)


async def all_of(reports: AsyncIterator[EngineReport]) -> list[EngineReport]:
    return [report async for report in reports]


def run(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_several_answers_at_once() -> None:
    async def main() -> None:
        async with scripted("tea") as engine:
            protocol: ExecutionEngine = engine
            asked = GenerationConfig(logprobs=True)
            found = await asyncio.gather(
                *(
                    all_of(protocol.generate(f"{at}", [65, 66], max_tokens=9, settings=asked))
                    for at in range(9)
                )
            )
            for reports in found:
                assert "".join(one.text for one in reports) == "tea"
                assert [one.over for one in reports] == [False] * (len(reports) - 1) + [True]
                assert (reports[-1].tokens, reports[0].cached_tokens) == (4, None)
                assert len([value for one in reports for value in one.logprobs]) == 3
            assert await engine.fill("f", "some text") == 0
            assert await engine.stats() == (0, 0, 0)

    run(main())


def test_what_is_cancelled_or_left_ends() -> None:
    async def main() -> None:
        async with scripted("a" * 1000, seconds=0.01) as engine:
            reports = engine.generate("one", "prompt", max_tokens=1000)
            async with aclosing(reports):
                await anext(reports)
                stats = await engine.stats()
                assert (stats.running, stats.kv_tokens >= 6) == (1, True)
                with pytest.raises(ConfigError, match="job of this name"):
                    await engine.fill("one", "prompt")
                await engine.cancel("one")
                assert (await all_of(reports))[-1].over
            left = engine.generate("two", "prompt", max_tokens=1000)
            async with aclosing(left):
                await anext(left)
            assert (await engine.stats()).running == 0
            await engine.cancel("two")
            await engine.free("prompt", salt="")

    run(main())


def test_a_cache_belongs_to_one_domain() -> None:
    async def main() -> None:
        model = ScriptedModel(ScriptedConfig(("a",)))
        async with ModelEngine(lambda: model, CAN, domain="tenant") as engine:
            assert await all_of(engine.generate("a", "b", max_tokens=3, salt="tenant"))
            for salt in ("", "other"):
                with pytest.raises(ConfigError, match="another domain"):
                    await all_of(engine.generate("a", "b", max_tokens=3, salt=salt))
        async with ModelEngine(lambda: model, UNCACHED) as engine:
            for salt in ("", "other"):
                assert await all_of(engine.generate("a", "b", max_tokens=3, salt=salt))
            assert not engine.capabilities.salt

    run(main())


def test_what_is_wrong_with_a_request_is_final() -> None:
    async def main() -> None:
        async with scripted() as engine:
            with pytest.raises(ConfigError, match="adapters"):
                await all_of(engine.generate("a", "b", max_tokens=3, adapter="one"))
            with pytest.raises(ConfigError, match="JSON"):
                await all_of(engine.generate("a", "b", max_tokens=3, schema="{"))
            with pytest.raises(ValueInvalidError):
                await all_of(engine.generate("a", [5000], max_tokens=3))

    run(main())


def test_a_model_that_is_there_failed_and_one_that_is_not_is_gone() -> None:
    async def main() -> None:
        before, model = Falling.opened, Falling()
        async with ModelEngine(lambda: model, CAN) as engine:
            with pytest.raises(EngineFailedError, match=r"it fell \[here\]"):
                await engine.fill("a", "b")
            model.state = "starting"
            with pytest.raises(EngineGoneError, match="it fell"):
                await engine.fill("a", "b")
            with pytest.raises(EngineGoneError, match="starting"):
                await engine.stats()
            assert not engine.alive
            asyncio.get_running_loop().call_later(0.1, setattr, model, "state", "ready")
            await engine.restart()
            assert engine.alive
            assert (await engine.stats()).running == 0
        assert Falling.opened == before + 1

    run(main())


def test_one_that_does_not_come_back_is_opened_anew() -> None:
    async def main() -> None:
        before = Falling.opened
        async with ModelEngine(Falling, CAN, start_seconds=0.1) as engine:
            engine.model.state = "starting"  # type: ignore[attr-defined]
            await engine.restart()
            assert engine.alive
        assert Falling.opened == before + 2

    run(main())


def test_closing_ends_what_waits() -> None:
    async def main() -> None:
        engine = scripted("a" * 1000, seconds=0.01)
        async with engine:
            waiting = [
                asyncio.create_task(all_of(engine.generate(f"{at}", "b", max_tokens=500)))
                for at in range(6)
            ]
            await asyncio.sleep(0.05)
            await engine.close()
            for found in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(found, EngineGoneError) or found[-1].over  # type: ignore[index]
            with pytest.raises(EngineGoneError, match="not open"):
                await engine.stats()

    run(main())


PREFILL, KV = 2000.0, 1e-6


def step_seconds(rows: int) -> float:
    return 0.01 + 0.002 * rows


class Known:
    """An engine on a clock of its own: a step takes `step_seconds`, and KV for each token held."""

    def __init__(self, *, fixed: bool = True, short: bool = False, most: int = 12) -> None:
        self.capabilities = EngineCapabilities(("known",), max_batch=most, context_length=2000)
        self.now, self.fixed, self.short = 0.0, fixed, short
        self.held: list[int] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.prompts: set[str] = set()
        self.asked: list[dict[str, Any]] = []

    async def generate(self, job: str, prompt: str, **told: Any) -> AsyncIterator[EngineReport]:
        if told["settings"] is not None and not self.fixed:
            raise ConfigError("no ignore_eos")
        assert prompt not in self.prompts, "it would be found in the cache"
        self.prompts.add(prompt)
        self.asked.append(told)
        tokens = len(prompt.split())
        self.now += tokens / PREFILL
        self.held.append(tokens)
        most = 1 if self.short else told["max_tokens"]
        for at in range(most):
            await self._step()
            yield EngineReport("x", None, at == most - 1)
        self.held.remove(tokens)

    async def _step(self) -> None:
        """The last row that waits makes a step for all."""
        own = asyncio.get_running_loop().create_future()
        self.waiting.append(own)
        for _ in range(50):
            await asyncio.sleep(0)
            if own.done():
                return
        self.now += step_seconds(len(self.waiting)) + KV * sum(self.held)
        woken, self.waiting = self.waiting, []
        for one in woken:
            one.set_result(None)


def words(text: str) -> int:
    return len(text.split())


def measured(engine: Any, **further: Any) -> Any:
    return asyncio.run(measure_curve(engine, words, clock=lambda: engine.now, **further))


@pytest.mark.parametrize("fixed", [True, False])
def test_it_is_the_curve_of_the_engine(fixed: bool) -> None:
    engine = Known(fixed=fixed)
    found = measured(engine, salt="s")
    assert found.batches == (1, 2, 4, 8)
    assert found.rates == pytest.approx([b / step_seconds(b) for b in found.batches], rel=0.02)
    assert found.prefill == pytest.approx(PREFILL, rel=0.05)
    assert found.kv_seconds == pytest.approx(KV, rel=0.2)
    assert {told["salt"] for told in engine.asked} == {"s"}
    assert found.seconds == pytest.approx(engine.now)
    assert (found.engine, found.prompt_tokens > 900) == ("known", True)
    curve = found.curve
    assert curve.step_seconds(8) == pytest.approx(step_seconds(8), rel=0.02)


def test_no_more_rows_than_asked_for() -> None:
    assert measured(Known(), most=2).batches == (1, 2)
    assert measured(Known(most=1)).batches == (1,)


def test_answers_that_are_too_short() -> None:
    with pytest.raises(ResourceError, match="before it could be measured"):
        measured(Known(short=True))


def test_it_is_measured_once(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "curve.json"
    engine: Any = Known(most=1)
    first = asyncio.run(measured_curve(engine, words, file=file))
    asked = len(engine.asked)
    assert asyncio.run(measured_curve(engine, words, file=file)) == first
    assert len(engine.asked) == asked
    assert load_curve(file) == first
    for text in ("{", "{}", '{"engine": 3}'):
        file.write_text(text)
        assert load_curve(file) is None
    assert load_curve(tmp_path / "none") is None


def test_each_kind_of_engine_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", "/somewhere")
    files = {curve_file(EngineCapabilities((name,), max_batch=b)) for name in "ab" for b in (1, 2)}
    assert len(files) == 4
    assert {str(one.parent) for one in files} == {"/somewhere"}


def test_length_schema_and_the_rest() -> None:
    assert generation_settings(7) == GenerationConfig(max_tokens=7)
    warm = GenerationConfig(max_tokens=99, temperature=0.7, seed=3)
    assert generation_settings(7, None, warm) == GenerationConfig(7, temperature=0.7, seed=3)
    found = generation_settings(7, '{"type": "object"}', warm)
    assert (found.json_schema, found.temperature) == ({"type": "object"}, 0.7)


@pytest.mark.parametrize("schema", ["{", "[1]", "7"])
def test_what_is_no_schema(schema: str) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        generation_settings(7, schema)


def test_two_forms_at_once() -> None:
    with pytest.raises(ConfigError, match="another form"):
        generation_settings(7, "{}", GenerationConfig(regex="a+"))


def test_a_cache_is_the_first_ones_or_that_of_whom_it_is_named_for() -> None:
    for domain, salt in ((OneDomain(), "a"), (OneDomain(), ""), (OneDomain("a"), "a")):
        for _ in range(2):
            domain.require(salt, "engine")
        with pytest.raises(ConfigError, match="another domain"):
            domain.require("b", "engine")
    domain = OneDomain()
    domain.require("a", "engine")
    domain.begin_again()
    domain.require("b", "engine")
    named = OneDomain("a")
    named.begin_again()
    with pytest.raises(ConfigError, match="another domain"):
        named.require("b", "engine")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConfigError("no", where="a", hint="b"), ConfigError),
        (ArtifactError("no", where="a", hint="b"), ConfigError),
        (ValueInvalidError("no", file="a", hint="b"), ValueInvalidError),
    ],
)
def test_an_error_comes_through(error: ConfigError, kind: type[ConfigError]) -> None:
    found = error_from_wire(error_to_wire(error))
    assert type(found) is kind
    assert str(found) == str(error) == "no [a] -> b"


@pytest.mark.parametrize(
    ("error", "what"),
    [(KeyError("x"), "KeyError: 'x'"), (ResourceError("no room", where="a"), "no room [a]")],
)
def test_a_failure_is_not_the_end_of_the_engine(error: Exception, what: str) -> None:
    found = error_from_wire(error_to_wire(error))
    assert type(found) is EngineFailedError
    assert str(found) == what


def test_which_are_final() -> None:
    assert issubclass(EngineGoneError, ResourceError)
    for kind in (EngineBusyError, EngineFailedError):
        assert not issubclass(kind, AdwrightError)
    assert (EngineBusyError("full").retry_after, EngineBusyError("full", 2).retry_after) == (
        None,
        2,
    )


pytest.importorskip("openvino_genai", reason="the extra lm is not installed")
pytest.importorskip("transformers", reason="the extra lm is not installed")


FIXED = GenerationConfig(ignore_eos=True)


def test_its_capabilities() -> None:
    caches = openvino_engine(OpenVinoConfig(), domain="tenant", name="small")
    can = caches.capabilities
    assert (can.models, can.prefix_cache, can.in_flight_prefix) == (("small",), True, False)
    assert (can.salt, can.fork, can.grammar, can.max_batch) == (False, False, True, 64)
    assert can.kv_tokens == (1 << 30) // 23_040
    for engine in (
        openvino_engine(domain=None),
        openvino_engine(OpenVinoConfig(prefix_caching=False), domain="tenant"),
    ):
        assert not engine.capabilities.prefix_cache


def test_in_its_process(tmp_path: Path) -> None:
    """Many at once, cancelled, and killed: it comes back, and answers the same."""
    config = OpenVinoConfig(str(save_tiny_gguf(tmp_path / "tiny.gguf")), threads=1, max_running=8)

    async def main() -> None:
        async with openvino_engine(config, domain="a", name="tiny") as engine:

            async def text(at: int, tokens: int = 12) -> str:
                asked = engine.generate(
                    f"{at}", f"the best tea {at}", max_tokens=tokens, salt="a", settings=FIXED
                )
                reports = [report async for report in asked]
                assert reports[-1].tokens == tokens
                return "".join(report.text for report in reports)

            assert engine.capabilities.context_length == 256
            assert await engine.fill("fill", "the best tea", salt="a") == 0
            await asyncio.gather(*(text(at) for at in range(6)))
            with pytest.raises(ConfigError, match="domain"):
                await engine.fill("fill", "the best tea", salt="b")
            reports = engine.generate("x", "the", max_tokens=200, salt="a", settings=FIXED)
            async with aclosing(reports):
                await anext(reports)
                await engine.cancel("x")
                assert [report.over async for report in reports][-1]
            assert (await engine.stats()).running == 0
            pid = engine.model.processes[0].pid  # type: ignore[attr-defined]
            # Held still, so that no text is whole before the process ends.
            os.kill(pid, signal.SIGSTOP)
            waiting = [asyncio.create_task(text(at, 230)) for at in range(4)]
            await asyncio.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            for found in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(found, EngineGoneError)
            with pytest.raises(EngineGoneError):
                await engine.stats()
            await engine.restart()
            assert (await engine.stats()).running == 0
            assert await text(1)

    asyncio.run(asyncio.wait_for(main(), 300))
