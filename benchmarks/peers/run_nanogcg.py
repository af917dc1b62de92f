"""Times nanoGCG on a prompt with a place for the attack; runs in nanoGCG's environment.

    python run_nanogcg.py ASK.json OUT.json

ASK: model (a folder), dtype, messages (one of them has {optim_str} where the attack goes), target,
start, candidates, batch, steps, threads. OUT: for each dtype CPU-seconds of a run of one step and
of a run of 1 + steps, so that their difference is what `steps` steps take.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nanogcg
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast


def main(source: str, out: str) -> None:
    """Write what the module says."""
    ask = json.loads(Path(source).read_text("utf-8"))
    torch.set_num_threads(int(ask["threads"]))
    tokenizer, settings = tokenizer_of(Path(ask["model"])), config_of(Path(ask["model"]))
    versions = [nanogcg.__name__, transformers.__version__, torch.__version__]
    found: dict[str, object] = {"versions": versions}
    for dtype in ask["dtypes"]:
        model = AutoModelForCausalLM.from_pretrained(
            ask["model"], config=settings, torch_dtype=getattr(torch, dtype)
        ).eval()
        seconds = [run(model, tokenizer, ask, steps) for steps in (1, 1 + int(ask["steps"]))]
        found[dtype] = {"first": seconds[0], "all": seconds[1]}
        Path(out).write_text(json.dumps(found), "utf-8")


def tokenizer_of(folder: Path) -> PreTrainedTokenizerFast:
    """The tokeniser of a folder that a later transformers wrote, whose class this one lacks."""
    told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    names = {name: told[name] for name in ("bos_token", "eos_token", "pad_token") if told.get(name)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
    template = folder / "chat_template.jinja"
    tokenizer.chat_template = told.get("chat_template") or template.read_text("utf-8")
    return tokenizer


def config_of(folder: Path) -> AutoConfig:
    """The model's settings, with the base of its positions under the name of this transformers."""
    config = AutoConfig.from_pretrained(folder)
    told = json.loads((folder / "config.json").read_text("utf-8"))
    config.rope_theta = told.get("rope_parameters", told)["rope_theta"]
    return config


def run(model: object, tokenizer: object, ask: dict, steps: int) -> float:
    """CPU-seconds of one run."""
    config = nanogcg.GCGConfig(
        num_steps=steps,
        optim_str_init=ask["start"],
        search_width=int(ask["candidates"]),
        batch_size=int(ask["batch"]),
        topk=256,
        n_replace=1,
        use_prefix_cache=True,
        filter_ids=True,
        seed=0,
        verbosity="ERROR",
    )
    began = time.process_time()
    nanogcg.run(model, tokenizer, ask["messages"], ask["target"], config)
    return time.process_time() - began


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
