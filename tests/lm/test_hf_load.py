"""Models are loaded from plain weights; code that a folder brings is never run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from adwright.core.errors import AssetError

pytest.importorskip("transformers")

from adwright.lm.engine.weights import load_hf_model, load_hf_tokenizer
from tests.support.lm.tiny_llama import save_tiny

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
