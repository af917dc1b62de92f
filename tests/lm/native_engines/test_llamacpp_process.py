"""?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import Message
from adwright.lm.native_engines.llamacpp_model import Process, XllamacppTokens
from adwright.lm.native_engines.llamacpp_worker import parameters
from adwright.lm.native_engines.supervisor import RestartBounds
from tests.support.lm.tiny_gguf import save_tiny_gguf

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


def test_a_kill_is_an_error_and_it_is_started_again(process: Process) -> None:
    folder, pid = process.folder, process.pid
    first, other, *waiting = [process.submit(LONG) for _ in range(4)]
    next(iter(first))
    next(iter(other))
    os.kill(pid, signal.SIGKILL)
    for ticket in (first, other):
        with pytest.raises(ResourceError, match="killed by SIGKILL"):
            list(ticket)
    # What had not begun waits for the next life.
    assert [list(ticket)[-1]["tokens_predicted"] for ticket in waiting] == [253, 253]
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


def test_closing_ends_what_runs(process: Process) -> None:
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
