"""Trains and asks AutoInt of DeepCTR-Torch for click rates of ads. Runs inside its environment.

    python run_autoint.py FOLDER

FOLDER: train.npz, valid.npz and test.npz, each with title int32 [N, A] and text int32 [N, B], words
as places from 1 on and 0 after the end; codes int32 [N, C]; vectors float32 [N, D]; y float32 [N],
the standardised log rate; and meta.json: places, sizes [C], seed, width, heads, layers, hidden,
batch, epochs, patience, l2, rates (of which the validation rows choose, as the epoch). Written are
scores.npy and train.npy, the answers for test and train, and result.json with CPU-seconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from peer_meter import cpu_seconds

# See run_deepctr.py: the library asks the network for its newest version when it is imported.
sys.modules.setdefault("requests", ModuleType("requests"))
from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat  # noqa: E402
from deepctr_torch.models import AutoInt  # noqa: E402

Array = np.ndarray[Any, Any]


def columns_of(meta: dict[str, Any], part: dict[str, Array]) -> list[Any]:
    """Feature columns: words are pooled by their mean, codes are embedded, vectors are numbers."""
    width = meta["width"]
    words = [
        VarLenSparseFeat(SparseFeat(name, meta["places"], width), part[name].shape[1], "mean")
        for name in ("title", "text")
    ]
    codes = [SparseFeat(f"code{at}", size, width) for at, size in enumerate(meta["sizes"])]
    return [*words, *codes, DenseFeat("vectors", part["vectors"].shape[1])]


def inputs_of(part: dict[str, Array]) -> dict[str, Array]:
    """A part as the library takes it."""
    codes = {f"code{at}": part["codes"][:, at] for at in range(part["codes"].shape[1])}
    return {"title": part["title"], "text": part["text"], "vectors": part["vectors"], **codes}


def fitted(meta: dict[str, Any], rate: float, parts: dict[str, dict[str, Array]]) -> Any:
    """(validation error, epoch, weights, model) of the best epoch at a learning rate."""
    train, valid = parts["train"], parts["valid"]
    columns = columns_of(meta, train)
    model = AutoInt(
        columns,
        columns,
        att_layer_num=meta["layers"],
        att_head_num=meta["heads"],
        dnn_hidden_units=tuple(meta["hidden"]),
        l2_reg_embedding=meta["l2"],
        l2_reg_dnn=meta["l2"],
        task="regression",
        seed=meta["seed"],
        device="cpu",
    )
    model.compile(torch.optim.Adam(model.parameters(), lr=rate), "mse", metrics=[])
    x, asked = inputs_of(train), inputs_of(valid)
    best: Any = (np.inf, 0, None, model)
    for epoch in range(1, meta["epochs"] + 1):
        model.fit(x, train["y"], batch_size=meta["batch"], epochs=1, verbose=0)
        told = model.predict(asked, 4096).reshape(-1)
        error = float(np.mean((told - valid["y"]) ** 2))
        if error < best[0]:
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            best = (error, epoch, weights, model)
        elif epoch - best[1] >= meta["patience"]:
            break
    return best


def main() -> None:
    """Train at each rate, ask the best, write the answers."""
    folder = Path(sys.argv[1])
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    torch.set_num_threads(1)
    names = ("train", "valid", "test")
    parts = {name: dict(np.load(folder / f"{name}.npz")) for name in names}
    began = cpu_seconds()
    tried = [fitted(meta, rate, parts) for rate in meta["rates"]]
    at = int(np.argmin([one[0] for one in tried]))
    error, epoch, weights, model = tried[at]
    model.load_state_dict(weights)
    trained = cpu_seconds()
    np.save(folder / "scores.npy", model.predict(inputs_of(parts["test"]), 4096).reshape(-1))
    asked = cpu_seconds()
    np.save(folder / "train.npy", model.predict(inputs_of(parts["train"]), 4096).reshape(-1))
    result = {
        "train_seconds": trained - began,
        "score_seconds": asked - trained,
        "error": error,
        "epoch": epoch,
        "rate": meta["rates"][at],
    }
    (folder / "result.json").write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main()
