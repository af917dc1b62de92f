"""?"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from adwright.core.errors import AssetError, ConfigError, ResourceError
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.lm.native_engines.llamacpp_config import (
    LoraFile,
    XllamacppConfig,
    check_scales,
    located,
    sampling_fields,
)
from adwright.lm.native_engines.llamacpp_model import Process, XllamacppTokens
from adwright.lm.native_engines.llamacpp_worker import parameters
from adwright.lm.native_engines.openvino_worker import StepOutput, Stepper, StepRequest
from adwright.lm.native_engines.supervisor import RestartBounds
from tests.support.lm.tiny_gguf import save_tiny_gguf

pytest.importorskip("llguidance", reason="the extra lm is not installed")


def test_scales_are_finite() -> None:
    check_scales([0.0, -1.0])
    with pytest.raises(ConfigError, match="finite"):
        XllamacppConfig(loras=(LoraFile("a.gguf", math.nan),))


def test_where_models_are(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    for wrong in ("nowhere", str(tmp_path), str(model)):
        with pytest.raises(AssetError, match="no such model"):
            located(XllamacppConfig(wrong))
    model.write_bytes(b"something")
    path, note = located(XllamacppConfig(str(model)))
    assert path == model
    assert note == "model"
    adapter = LoraFile(str(tmp_path / "a.gguf"))
    with pytest.raises(AssetError, match="no such adapter"):
        located(XllamacppConfig(str(model), loras=(adapter,)))
    Path(adapter.path).write_bytes(b"something")
    assert "with 1 adapters" in located(XllamacppConfig(str(model), loras=(adapter,)))[1]


def test_greedy_needs_nothing_else() -> None:
    fields = sampling_fields(GenerationConfig(seed=7), 2)
    assert fields["samplers"] == ["top_k"]
    assert fields["top_k"] == 1
    assert fields["seed"] == 9


def test_draws_are_cut_in_the_order_of_the_other_engines() -> None:
    config = GenerationConfig(temperature=0.5, top_k=9, top_p=0.9, repetition_penalty=1.2)
    fields = sampling_fields(config, 0)
    assert fields["samplers"] == ["penalties", "temperature", "top_k", "top_p"]
    assert (fields["top_k"], fields["top_p"], fields["repeat_penalty"]) == (9, 0.9, 1.2)
    assert sampling_fields(GenerationConfig(temperature=1.0), 0)["samplers"] == ["temperature"]
    # The largest number means another thing to llama.cpp.
    assert sampling_fields(GenerationConfig(seed=2**32 - 1), 0)["seed"] == 0


def test_constraints() -> None:
    schema = {"type": "integer"}
    grammar = sampling_fields(GenerationConfig(json_schema=schema), 0)["grammar"]
    assert grammar.startswith("%llguidance {}\nstart: %json {")
    assert '"whitespace_flexible": false' in grammar
    assert "x-guidance" not in schema
    word = 'root ::= "a"'
    assert sampling_fields(GenerationConfig(grammar=word), 0)["grammar"] == word
    with pytest.raises(ConfigError, match="schema or grammar"):
        sampling_fields(GenerationConfig(json_schema={"type": "nothing"}), 0)
    own = sampling_fields(GenerationConfig(lark='start: "a"'), 0)["grammar"]
    assert own == '%llguidance {}\nstart: "a"'


def test_further_settings() -> None:
    config = GenerationConfig(temperature=0.5, min_p=0.1, top_k=9, logit_bias=((5, -3.0),))
    fields = sampling_fields(config, 0)
    assert fields["samplers"] == ["temperature", "min_p", "top_k"]
    assert (fields["min_p"], fields["logit_bias"]) == (0.1, [[5, -3.0]])
    assert "ignore_eos" not in fields
    assert sampling_fields(GenerationConfig(ignore_eos=True), 0)["ignore_eos"]


FIELDS = {
    "tokenizer.ggml.tokens": ["a", "b", "<|im_end|>", "<|begin|>", "<|endoftext|>"],
    "tokenizer.ggml.token_type": [1, 1, 3, 3, 3],
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.bos_token_id": 3,
}


def ask(path: str, body: Mapping[str, Any]) -> Any:
    """One token a letter."""
    match path:
        case "/tokenize":
            ids = [ord(one) - ord("a") for one in body["content"]]
            return {"tokens": [3, *ids] if body["add_special"] else ids}
        case "/detokenize":
            return {"content": "".join(chr(ord("a") + one) for one in body["tokens"])}
        case _:
            if body["messages"][0]["role"] == "system":
                raise ConfigError("no system here")
            return {"prompt": "".join(one["content"] for one in body["messages"])}


def test_text_to_tokens_and_back() -> None:
    tokens = XllamacppTokens(ask, FIELDS)
    assert tokens.encode("ab") == [3, 0, 1]
    assert tokens.encode("ab", special=False) == [0, 1]
    assert tokens.encode("") == []
    assert tokens.count("ab") == 2
    assert tokens.decode([3, 0, 1, 2]) == "ab"
    assert tokens.decode([2]) == ""
    assert tokens.end_ids == {2, 4}
    assert tokens.begin_id == 3
    assert tokens.vocabulary == 5
    assert XllamacppTokens(ask, {}).begin_id is None
    assert tokens.chat([Message("user", "ba")]) == [1, 0]
    with pytest.raises(ConfigError, match="do not fit"):
        tokens.chat([Message("system", "a")])


def llama() -> Any:
    """What the worker touches of xllamacpp."""

    def common() -> Any:
        part = SimpleNamespace
        return part(model=part(), cpuparams=part(), cpuparams_batch=part())

    return SimpleNamespace(
        CommonParams=common,
        CommonAdapterLoraInfo=SimpleNamespace,
        llama_pooling_type=SimpleNamespace(LLAMA_POOLING_TYPE_MEAN=1),
    )


def test_parameters() -> None:
    settings = {"model": "a.gguf", "socket": "/x/s.sock", "threads": 2, "context": 4096}
    settings |= {"running": 3, "loras": ["b.gguf"], "embedding": False}
    found = parameters(settings, llama())
    assert found.model.path == "a.gguf"
    assert found.cpuparams.n_threads == found.cpuparams_batch.n_threads == 2
    assert (found.n_ctx, found.n_parallel, found.kv_unified) == (4096, 3, True)
    assert found.n_threads_http > 3
    assert [(one.path, one.scale) for one in found.lora_adapters] == [("b.gguf", 1.0)]
    assert found.n_ubatch == found.n_batch == 256
    assert not hasattr(found, "embedding")
    found = parameters(settings | {"embedding": True}, llama())
    assert (found.embedding, found.pooling_type) == (True, 1)
    assert found.n_ubatch == found.n_batch == 2048


def test_a_start_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    settings = {"model": "a.gguf", "socket": str(tmp_path / "inner" / "s"), "parent": os.getpid()}
    code = (
        "import sys; sys.modules['xllamacpp'] = None\n"
        "from adwright.lm.native_engines.llamacpp_worker import main\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    assert "xllamacpp" in json.loads(process.stdout.readline())["error"]
    assert process.wait(20) == 1
    process.communicate()


pytest.importorskip("xllamacpp", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")


LONG = {"prompt": [5, 6, 7], "n_predict": 900, "ignore_eos": True, "return_tokens": True}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = save_tiny_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf")
    told = {"model": str(path), "threads": 1, "context": 1024, "running": 2}
    return told | {"loras": [], "embedding": False}


@pytest.fixture
def process(settings: dict[str, Any]) -> Iterator[Process]:
    with closing(Process(settings)) as opened:
        yield opened


@pytest.fixture
def roomy(settings: dict[str, Any], tmp_path: Path) -> Iterator[Process]:
    """With room for answers that outlast any wait of a busy machine."""
    path = save_tiny_gguf(tmp_path / "roomy.gguf", context=2**17)
    with closing(Process(settings | {"model": str(path), "context": 2**17})) as opened:
        yield opened


def alive(pid: int) -> bool:
    """Whether there is such a process; one that only waits to be read off is none."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    until = time.monotonic() + 20
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def busy(process: Process) -> int:
    return sum(slot["is_processing"] for slot in process.ask("/slots"))


def idle(process: Process) -> bool:
    until = time.monotonic() + 20
    while (process.running or busy(process)) and time.monotonic() < until:
        time.sleep(0.01)
    return not process.running and not busy(process)


def test_it_answers_and_more_than_run_wait(process: Process) -> None:
    assert process.ask("/health") == {"status": "ok"}
    tickets = [process.submit(LONG | {"n_predict": n}) for n in (3, 4, 5, 6, 7)]
    ends = [list(ticket)[-1] for ticket in tickets]
    assert [end["tokens_predicted"] for end in ends] == [3, 4, 5, 6, 7]
    assert {end["stop_type"] for end in ends} == {"limit"}
    assert idle(process)


def test_what_it_refuses(process: Process) -> None:
    with pytest.raises(ConfigError, match="refuses"):
        list(process.submit(LONG | {"grammar": "root ::= ("}))
    with pytest.raises(ConfigError, match="refuses"):
        process.ask("/tokenize-not")
    assert list(process.submit(LONG | {"n_predict": 1}))


def test_a_dropped_request_leaves(process: Process) -> None:
    tickets = [process.submit(LONG) for _ in range(4)]
    next(iter(tickets[0]))
    for ticket in tickets:
        ticket.drop()
    assert idle(process)
    assert tickets[3].next(0.0) is None
    assert list(process.submit(LONG | {"n_predict": 1}))


def test_a_kill_is_an_error_and_it_is_started_again(roomy: Process) -> None:
    process = roomy
    folder, pid = process.folder, process.pid
    endless = LONG | {"n_predict": 10**6}
    first, other, *waiting = [process.submit(one) for one in (endless, endless, LONG, LONG)]
    next(iter(first))
    next(iter(other))
    os.kill(pid, signal.SIGKILL)
    for ticket in (first, other):
        with pytest.raises(ResourceError, match="killed by SIGKILL"):
            list(ticket)
    # What had not begun waits for the next life.
    assert [list(ticket)[-1]["tokens_predicted"] for ticket in waiting] == [900, 900]
    assert process.health() == "ready"
    assert process.pid != pid
    assert gone(pid)
    assert not folder.exists()


def test_one_that_is_stopped_is_stuck_and_then_started_again(settings: dict[str, Any]) -> None:
    bounds = RestartBounds(quiet=1.0, kill=4.0)
    with closing(Process(settings, bounds)) as process:
        pid = process.pid
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + 30
        while process.health() == "ready" and time.monotonic() < until:
            time.sleep(0.05)
        assert process.health() != "ready"
        assert gone(pid)
        # What is asked while it dies may still reach it: wait until the next life answers.
        while process.health() != "ready" and time.monotonic() < until:
            time.sleep(0.05)
        assert list(process.submit(LONG | {"n_predict": 1}))
        assert process.pid != pid


def test_closing_ends_what_runs(roomy: Process) -> None:
    process = roomy
    # None ends by itself, however late this process comes to its turn.
    endless = LONG | {"n_predict": 10**6}
    first, waiting = process.submit(endless), [process.submit(endless) for _ in range(3)]
    next(iter(first))
    began = time.monotonic()
    process.close()
    process.close()
    assert time.monotonic() - began < 10
    for ticket in (first, *waiting):
        with pytest.raises(ResourceError, match="was closed"):
            list(ticket)
    for asked in (lambda: process.submit(LONG), lambda: process.ask("/health")):
        with pytest.raises(ResourceError, match="was closed"):
            asked()
    assert process.health() == "dead"
    assert not alive(process.pid)
    assert not process.folder.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_does_not_outlive_its_parent(how: signal.Signals, settings: dict[str, Any]) -> None:
    code = (
        "from adwright.lm.native_engines.llamacpp_model import Process\n"
        f"process = Process({settings!r})\n"
        f"ticket = process.submit({LONG!r} | {{'n_predict': 10**6}})\n"
        "next(iter(ticket))\n"
        "print(process.pid, process.folder, flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    assert alive(int(pid))
    parent.send_signal(how)
    parent.communicate()
    assert gone(int(pid))
    until = time.monotonic() + 10
    while Path(folder).exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(folder).exists()


def test_a_program_that_forgets_to_close_leaves_nobody(settings: dict[str, Any]) -> None:
    code = (
        "from adwright.lm.native_engines.llamacpp_model import Process\n"
        f"process = Process({settings!r})\n"
        "print(process.pid, flush=True)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert gone(int(found.stdout))
    assert found.stderr == ""


def test_what_cannot_be_opened(settings: dict[str, Any], tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUFnot really")
    with pytest.raises(ConfigError, match="cannot open the model"):
        Process(settings | {"model": str(bad)})
    with pytest.raises(ConfigError, match="lora adapter"):
        Process(settings | {"loras": [str(bad)]})


pytest.importorskip("openvino", reason="the extra lm is not installed")


#: Steps that do not end while a test does something else.
MANY = 20_000


class Handle:
    """Counts down from the first token of its prompt, less what follows it."""

    def __init__(self, left: int) -> None:
        self.left, self.ready, self.status = left, 0, "RUNNING"

    def step(self) -> None:
        if self.status == "RUNNING":
            self.left -= 1
            self.ready += 1
            if self.left == 0:
                self.status = "FINISHED"

    def get_status(self) -> Any:
        return SimpleNamespace(name=self.status)

    def can_read(self) -> bool:
        return self.ready > 0

    def read(self) -> dict[int, Any]:
        self.ready -= 1
        reason = "LENGTH" if self.status == "FINISHED" else "NONE"
        output = SimpleNamespace(
            generated_ids=[self.left + self.ready],
            generated_log_probs=[-1.0],
            finish_reason=SimpleNamespace(name=reason),
        )
        return {0: output}

    def cancel(self) -> None:
        self.status = "CANCEL"


class Pipeline:
    """As OpenVINO's, without a model. A prompt that begins with 99 breaks every step from then
    on; one that begins with 98 is not taken; one with 97 finds the cache full."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []
        self.steps = 0
        self.slow = 0.0
        self.joined: list[int] = []
        self.broken = False
        self.may_step = threading.Event()
        self.may_step.set()

    def add_request(self, _: int, ids: Any, settings: Any) -> Handle:
        time.sleep(self.slow)
        self.joined.append(self.steps)
        first = int(ids.data.reshape(-1)[0])
        if first == 96:
            raise OverflowError("it does not fit")
        if first == 98:
            raise RuntimeError("[12:00:01] /src/a.cc:12: it is not taken")
        self.broken = self.broken or first == 99
        handle = Handle(first - len(ids.data.reshape(-1)) + 1)
        if first == 97:
            handle.status = "IGNORED"
        self.handles.append(handle)
        return handle

    def has_non_finished_requests(self) -> bool:
        self.handles = [one for one in self.handles if one.status not in ("FINISHED", "IGNORED")]
        return bool(self.handles)

    def step(self) -> None:
        self.may_step.wait(10)
        self.steps += 1
        if self.broken:
            raise RuntimeError("what went wrong")
        self.handles = [one for one in self.handles if one.status != "CANCEL"]
        for handle in self.handles:
            handle.step()


class Ticket:
    """A request, and what is told of it."""

    def __init__(self, stepper: Stepper, ids: list[int], *, shaped: bool = False) -> None:
        self.arrived: SimpleQueue[StepOutput | Exception] = SimpleQueue()
        settings: Any = SimpleNamespace(max_new_tokens=ids[0])
        self.request = StepRequest(ids, settings, self.arrived.put, shaped)
        stepper.submit([self.request])

    def __iter__(self) -> Iterator[StepOutput]:
        while True:
            output = self.arrived.get(timeout=20)
            if isinstance(output, Exception):
                raise output
            yield output
            if output.ended:
                return


def make() -> tuple[Stepper, list[Pipeline]]:
    made = [Pipeline()]

    def again() -> Any:
        made.append(Pipeline())
        return made[-1]

    return Stepper(made[0], again), made  # type: ignore[arg-type]


def ids_of(ticket: Ticket) -> list[int]:
    return [token for piece in ticket for token in piece.ids]


def test_requests_run_together() -> None:
    worker, (pipeline,) = make()
    pipeline.may_step.clear()
    tickets = [Ticket(worker, [n]) for n in (3, 5, 4)]
    time.sleep(0.05)
    pipeline.may_step.set()
    assert [ids_of(ticket) for ticket in tickets] == [[2, 1, 0], [4, 3, 2, 1, 0], [3, 2, 1, 0]]
    assert pipeline.steps <= 7
    worker.close()
    worker.close()


def test_no_step_lies_between_those_that_are_submitted_together() -> None:
    worker, (pipeline,) = make()
    told: list[list[StepOutput | Exception]] = [[], [], []]
    settings: Any = SimpleNamespace(max_new_tokens=4)
    requests = [StepRequest([4], settings, one.append) for one in told]
    requests[1].dropped = True
    pipeline.slow = 0.02
    worker.submit([])
    worker.submit(requests)
    last = Ticket(worker, [30])
    assert ids_of(last)[-1] == 0
    assert pipeline.joined[:2] == [0, 0]
    assert [len(one) for one in told] == [4, 1, 4]
    worker.close()


def test_a_dropped_request_leaves_and_idle_costs_nothing() -> None:
    worker, (pipeline,) = make()
    ticket = Ticket(worker, [10_000_000])
    assert next(iter(ticket)).ended is False
    ticket.request.dropped = True
    until = time.monotonic() + 10
    while worker.running and time.monotonic() < until:
        time.sleep(0.001)
    assert worker.running == 0
    time.sleep(0.05)
    assert not pipeline.handles
    steps = pipeline.steps
    time.sleep(0.05)
    assert pipeline.steps == steps
    assert not ticket.arrived.empty()
    worker.close()


def test_a_request_that_is_not_taken_harms_no_other() -> None:
    worker, _ = make()
    bad, good = Ticket(worker, [98]), Ticket(worker, [2])
    with pytest.raises(ConfigError, match=r"^it is not taken"):
        ids_of(bad)
    assert ids_of(good) == [1, 0]
    with pytest.raises(ConfigError, match="does not fit"):
        ids_of(Ticket(worker, [96]))
    with pytest.raises(ConfigError, match="int"):
        ids_of(Ticket(worker, [2**63]))
    assert ids_of(Ticket(worker, [2])) == [1, 0]
    full = Ticket(worker, [97])
    with pytest.raises(ResourceError, match="full"):
        ids_of(full)
    worker.close()


def test_a_step_that_fails_ends_its_requests_and_a_new_pipeline_goes_on() -> None:
    worker, made = make()
    bad = Ticket(worker, [99])
    with pytest.raises(ResourceError, match="what went wrong"):
        ids_of(bad)
    assert ids_of(Ticket(worker, [2])) == [1, 0]
    assert len(made) == 2
    worker.close()


def test_a_schema_that_is_not_taken_ends_its_own_request_and_the_others_go_on() -> None:
    worker, made = make()
    going, bound = Ticket(worker, [MANY]), Ticket(worker, [MANY], shaped=True)
    first = [next(iter(going)), next(iter(bound))]
    made[0].may_step.clear()
    bad = Ticket(worker, [99], shaped=True)
    made[0].may_step.set()
    with pytest.raises(ConfigError, match="the schema or grammar is not taken: what went wrong"):
        ids_of(bad)
    assert [*first[0].ids, *ids_of(going)] == list(reversed(range(MANY)))
    assert going.request.settings.max_new_tokens < MANY
    with pytest.raises(ResourceError, match="what went wrong"):
        ids_of(bound)
    assert len(made) == 2
    worker.close()


def test_of_two_new_schemas_neither_is_called_wrong() -> None:
    worker, made = make()
    made[0].may_step.clear()
    waiting = Ticket(worker, [5])
    tickets = [Ticket(worker, [n], shaped=True) for n in (99, 6)]
    made[0].may_step.set()
    assert ids_of(waiting) == [4, 3, 2, 1, 0]
    for ticket in tickets:
        with pytest.raises((ResourceError, ConfigError)):
            ids_of(ticket)
    worker.close()


def test_openvino_steps_closing_ends_what_runs() -> None:
    worker, _ = make()
    ticket = Ticket(worker, [10_000_000])
    next(iter(ticket))
    worker.close()
    with pytest.raises(ResourceError, match="closed"):
        ids_of(ticket)
    with pytest.raises(ConfigError, match="closed"):
        Ticket(worker, [1])
    assert ticket.request.handle is None


def test_where_there_is_no_new_pipeline_all_are_told_and_the_thread_ends() -> None:
    made = [Pipeline()]

    def again() -> Any:
        raise ValueError("no memory")

    worker = Stepper(made[0], again)  # type: ignore[arg-type]
    made[0].may_step.clear()
    tickets = [Ticket(worker, [n]) for n in (99, 5, 6)]
    made[0].may_step.set()
    for ticket in tickets:
        with pytest.raises(ResourceError):
            ids_of(ticket)
    worker.join()
    with pytest.raises(ConfigError, match="closed"):
        Ticket(worker, [1])
