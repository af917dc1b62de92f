"""A small model, words that it can learn, and processes that talk through a wire tap."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from adwright.core.errors import AdwrightError
from adwright.training.offsite.sandwich import (
    emulator_of,
    offered,
    plugged,
    shipped_emulator,
)
from adwright.training.offsite.wire import Channel, Listener, WireMessage, connect
from adwright.training.tuning.texts import Texts
from adwright.tuning.tuned import Tuned
from tests.support.forks import python

SCRIPT = Path(__file__).with_name("offsite_side.py")
WORDS = tuple(f"word{number:02}" for number in range(40))


def model(layers: int = 8, *, tied: bool = True) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
    )
    made: Any = transformers.LlamaForCausalLM(config)
    return made.eval()


def tokenizer(folder: Path) -> Any:
    """Words by number, saved in `folder`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1, **{word: at + 2 for at, word in enumerate(WORDS)}}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    kind: Any = PreTrainedTokenizerFast
    made = kind(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    made.save_pretrained(folder)
    return made


def pairs(number: int = 16, seed: int = 0) -> list[tuple[str, str]]:
    """Prompts whose answer is their first word."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(len(WORDS), size=rng.integers(2, 6)) for _ in range(number)]
    return [(" ".join(WORDS[at] for at in row), WORDS[row[0]]) for row in rows]


def tokens(number: int = 16, seed: int = 0) -> Texts:
    """The same as tokens, without a tokeniser."""
    numbers = {word: at + 2 for at, word in enumerate(WORDS)}
    rows = [
        ((0, *(numbers[word] for word in said.split())), (numbers[answer], 1))
        for said, answer in pairs(number, seed)
    ]
    return Texts(tuple(prompt for prompt, _ in rows), tuple(answer for _, answer in rows))


class Tap:
    """Stands between two processes and keeps what passes: `up` to who listens, `down` back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(300)
        self.port = int(self._server.getsockname()[1])
        self.up, self.down = bytearray(), bytearray()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._server.accept()
        other = socket.create_connection(("127.0.0.1", self._target))
        # A message comes in parts: without this, each later part may wait 40 ms for an answer to
        # the one before.
        for each in (client, other):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        copies = [
            threading.Thread(target=self._copy, args=each, daemon=True)
            for each in ((client, other, self.up), (other, client, self.down))
        ]
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
        for each in (client, other, self._server):
            each.close()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        try:
            while part := source.recv(1 << 16):
                kept += part
                target.sendall(part)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def join(self) -> None:
        self._thread.join(60)


def messages(stream: bytes) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """What a stream says, read literally."""
    at = 0
    while at < len(stream):
        magic, _, head, body = struct.unpack_from("!6sHIQ", stream, at)
        assert magic == b"ADWOFF"
        at += 20
        found = json.loads(stream[at : at + head])
        inner = bytes(stream[at + head : at + head + body])
        yield found, load(inner) if inner else {}
        at += head + body


@contextmanager
def side(role: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """offsite_side.py in a process of its own, which ends with the block."""
    process = subprocess.Popen(
        [python(), str(SCRIPT), role, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def port_in(path: Path, process: subprocess.Popen[str], seconds: float = 300) -> int:
    """The port that the process has written there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "no port was written"
        time.sleep(0.05)
    return int(path.read_text())


def finished(process: subprocess.Popen[str], seconds: float = 600) -> str:
    """Its output, after it has ended well."""
    out, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return out


class Both:
    """A cloud in a thread, and this side of its channel."""

    def __init__(self, layers: int = 2, **settings: Any) -> None:
        listener, self.error = Listener(), list[AdwrightError]()
        self.model = model(layers)

        def serve() -> None:
            from adwright.training.offsite.revive import serve_base

            try:
                serve_base(self.model, listener.accept(timeout=20), **settings)
            except AdwrightError as error:
                self.error.append(error)

        self.thread = threading.Thread(target=serve, daemon=True)
        self.thread.start()
        self.channel: Channel = connect(listener.address, timeout=20)

    def ends(self) -> WireMessage:
        self.channel.greet()
        return self.channel.receive("ends")

    def bye(self) -> None:
        self.channel.send(WireMessage("bye"))
        self.thread.join(20)
        self.channel.close()

    def failed(self) -> AdwrightError:
        self.thread.join(20)
        self.channel.close()
        return self.error[0]


def served(whole: Any, channel: Channel, tokens_of: Path | None = None) -> Tuned:
    """Give away two ends and two layers of the middle, and plug in what comes."""
    with channel:
        channel.receive_hello()
        emulator = shipped_emulator(emulator_of(whole, 2, 2), 2, tokens_of)
        return plugged(whole, channel, offered(whole, channel, emulator, 2, 60), 2)
