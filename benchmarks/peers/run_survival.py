"""Trains and asks survival models of peer libraries. Runs inside their environment.

    python run_survival.py FOLDER OUT MODEL SEED

FOLDER: train.npz, valid.npz and test.npz, each with x float32 [N, F] (numbers, standardised, no
gaps), codes int32 [N, C] (categories, 0 for what training has not seen), time float32 [N] since the
landmark, event bool [N]; and meta.json: edges [T + 1] of the bins from 0 on, sizes [C] of the
codes, hidden, width of embeddings, batch, epochs, rates (of which the validation units choose),
rows (most that are trained on, null for all).

MODEL: cox (lifelines, Efron's ties), logistic_hazard, deephit (pycox), torchsurv (Cox's partial
likelihood of a network), boosting (scikit-learn, on the hazard of a unit and bin). OUT gets
result.json with the CPU-seconds of training and of asking, and scores.npz: risk [N] of the test
units, higher for an earlier end, and where the model has it survival float32 [N, T] at the edges.

The networks have the same layers, embeddings and batch as ours, their rate and the end of their
training are chosen by the validation units.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peer_meter import cpu_seconds
from torch import nn

Array = np.ndarray[Any, Any]
Split = dict[str, Array]
#: Columns of rows that the hazard's boosting takes at most: units times bins at risk.
_MOST_PERIODS = 3_000_000
_PATIENCE = 2


class Net(nn.Module):
    """An MLP over numbers and embeddings of categories: [B, F] and [B, C] to [B, out]."""

    def __init__(self, numbers: int, sizes: list[int], hidden: list[int], width: int, out: int):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(size, width) for size in sizes])
        layers: list[nn.Module] = []
        i = numbers + width * len(sizes)
        for o in hidden:
            layers += [nn.Linear(i, o), nn.ReLU()]
            i = o
        self.layers = nn.Sequential(*layers, nn.Linear(i, out))

    def forward(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """See the class."""
        found = [table(codes[:, at]) for at, table in enumerate(self.tables)]
        return self.layers(torch.cat([x, *found], 1))


def main() -> None:
    """Train the model, ask it, write both files."""
    folder, out, name, seed = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what the libraries draw from
    torch.set_num_threads(1)
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    train, valid, test = (dict(np.load(folder / f"{part}.npz")) for part in SPLITS)
    rows = meta["rows"]
    if rows is not None and rows < len(train["time"]):
        some = np.random.default_rng(seed).choice(len(train["time"]), rows, replace=False)
        train = {key: value[some] for key, value in train.items()}
    began = cpu_seconds()
    ask = MODELS[name](train, valid, meta)
    trained = cpu_seconds()
    found = ask(test)
    asked = cpu_seconds()
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "scores.npz", **found)
    result = {
        "model": name,
        "seed": seed,
        "units": len(train["time"]),
        "train_cpu_seconds": trained - began,
        "ask_cpu_seconds": asked - trained,
        "versions": {one: version(one) for one in ("lifelines", "pycox", "torchsurv", "torch")},
    }
    (out / "result.json").write_text(json.dumps(result, indent=1), "utf-8")


SPLITS = ("train", "valid", "test")
Ask = Callable[[Split], Split]


def cox(train: Split, _: Split, meta: dict[str, Any]) -> Ask:
    """Linear, with the mean event rate of each category, shrunk, in the place of categories."""
    import pandas as pd
    from lifelines import CoxPHFitter

    rates = [_rates(train, at, size) for at, size in enumerate(meta["sizes"])]

    def frame(split: Split) -> pd.DataFrame:
        coded = [rate[split["codes"][:, at]] for at, rate in enumerate(rates)]
        return pd.DataFrame(np.column_stack([split["x"], *coded]).astype(np.float64)).add_prefix(
            "x"
        )

    table = frame(train).assign(time=train["time"], event=train["event"])
    # A little of a penalty, since some columns are nearly sums of others.
    fitted = CoxPHFitter(penalizer=1e-4).fit(table, "time", "event")
    edges = meta["edges"][1:]

    def ask(split: Split) -> Split:
        own = frame(split)
        hazard = fitted.predict_log_partial_hazard(own).to_numpy()
        base = fitted.baseline_cumulative_hazard_.iloc[:, 0]
        at = np.searchsorted(base.index.to_numpy(), edges, side="right") - 1
        total = np.where(at >= 0, base.to_numpy()[np.maximum(at, 0)], 0)
        return {"risk": hazard, "survival": np.exp(-np.exp(hazard)[:, None] * total)}

    return ask


def _rates(train: Split, at: int, size: int, strength: float = 20.0) -> Array:
    """log of events per unit of time at risk, shrunk to that of all. [size]."""
    codes = train["codes"][:, at]
    events = np.bincount(codes, train["event"], size)
    exposure = np.bincount(codes, train["time"], size)
    mean = events.sum() / exposure.sum()
    return np.log((events + strength * mean) / (exposure + strength))


def logistic_hazard(train: Split, valid: Split, meta: dict[str, Any]) -> Ask:
    """pycox's, over our bins."""
    from pycox.models import LogisticHazard

    return _pycox(LogisticHazard, train, valid, meta)


def deephit(train: Split, valid: Split, meta: dict[str, Any]) -> Ask:
    """pycox's for one cause, alpha and sigma as its authors have them."""
    from pycox.models import DeepHitSingle

    return _pycox(DeepHitSingle, train, valid, meta, alpha=0.2, sigma=0.1)


def _pycox(kind: Any, train: Split, valid: Split, meta: dict[str, Any], **settings: float) -> Ask:
    import torchtuples as tt

    labels = kind.label_transform(np.array(meta["edges"], np.float64))
    labels.fit(train["time"].astype(np.float64), train["event"])
    both = [
        ((s["x"], s["codes"].astype(np.int64)), labels.transform(s["time"], s["event"]))
        for s in (train, valid)
    ]
    (x, y), held = both
    found = []
    for rate in meta["rates"]:
        net = Net(x[0].shape[1], meta["sizes"], meta["hidden"], meta["width"], labels.out_features)
        model = kind(net, tt.optim.Adam(rate), duration_index=labels.cuts, **settings)
        stop = tt.callbacks.EarlyStopping(patience=_PATIENCE)
        model.fit(x, y, meta["batch"], meta["epochs"], [stop], verbose=False, val_data=held)
        found.append((float(model.log.to_pandas()["val_loss"].min()), len(found), model))
    model = min(found)[2]

    def ask(split: Split) -> Split:
        inputs = split["x"], split["codes"].astype(np.int64)
        curves = model.predict_surv(inputs, batch_size=16384)[:, 1:]
        return {"risk": -curves.sum(1), "survival": np.asarray(curves, np.float32)}

    return ask


def torchsurv(train: Split, valid: Split, meta: dict[str, Any]) -> Ask:
    """Its negative partial log-likelihood, of batches."""
    from torchsurv.loss.cox import neg_partial_log_likelihood

    def trained(rate: float) -> tuple[float, Net]:
        net = Net(train["x"].shape[1], meta["sizes"], meta["hidden"], meta["width"], 1)
        optimizer = torch.optim.Adam(net.parameters(), rate)
        best, best_state, waited = np.inf, net.state_dict(), 0
        for _ in range(meta["epochs"]):
            order = torch.randperm(len(train["time"]))
            for some in order.split(meta["batch"]):
                x, codes, time, event = (one[some] for one in parts[0])
                loss = neg_partial_log_likelihood(net(x, codes).squeeze(1), event, time)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                x, codes, time, event = (one[some_valid] for one in parts[1])
                held = float(neg_partial_log_likelihood(net(x, codes).squeeze(1), event, time))
            waited = 0 if held < best else waited + 1
            if held < best:
                best, best_state = held, {k: v.clone() for k, v in net.state_dict().items()}
            if waited > _PATIENCE:
                break
        net.load_state_dict(best_state)
        return best, net

    parts = [_tensors(split) for split in (train, valid)]
    some_valid = torch.randperm(len(valid["time"]))[: 8 * meta["batch"]]
    net = min((trained(rate) for rate in meta["rates"]), key=lambda each: each[0])[1]

    def ask(split: Split) -> Split:
        x, codes, *_ = _tensors(split)
        with torch.no_grad():
            found = [
                net(*pair).squeeze(1)
                for pair in zip(x.split(16384), codes.split(16384), strict=True)
            ]
        return {"risk": torch.cat(found).numpy()}

    return ask


def _tensors(split: Split) -> tuple[torch.Tensor, ...]:
    codes, event = split["codes"].astype(np.int64), split["event"].astype(bool)
    return tuple(torch.from_numpy(one) for one in (split["x"], codes, split["time"], event))


def boosting(train: Split, _: Split, meta: dict[str, Any]) -> Ask:
    """P(ends in the bin | at risk in it) of a unit's columns and the bin's number."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    edges = np.array(meta["edges"])
    bins = len(edges) - 1
    last = np.clip(np.searchsorted(edges, train["time"], side="left"), 1, bins)  # ends in it
    # A censored unit is at risk in the bins that it survived.
    risk = np.where(train["event"], last, np.searchsorted(edges, train["time"], side="right") - 1)
    units = np.arange(len(risk))
    if risk.sum() > _MOST_PERIODS:
        share = _MOST_PERIODS / risk.sum()
        units = units[np.random.default_rng(0).random(len(units)) < share]
    of = np.repeat(units, risk[units])
    starts = np.repeat(np.cumsum(risk[units]) - risk[units], risk[units])
    period = np.arange(len(of)) - starts
    ends = (
        train["event"][of].astype(bool)
        & (period == last[of] - 1)
        & (train["time"][of] <= edges[-1])
    )

    def columns(split: Split, rows: Array, at: Array) -> Array:
        return np.column_stack([split["x"][rows], split["codes"][rows], at]).astype(np.float32)

    model = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.1, max_leaf_nodes=63, early_stopping=True, random_state=0
    ).fit(columns(train, of, period), ends)

    def ask(split: Split) -> Split:
        rows = np.arange(len(split["time"]))
        left = np.ones(len(rows))
        curves = np.empty((len(rows), bins), np.float32)
        for at in range(bins):
            left = left * (
                1 - model.predict_proba(columns(split, rows, np.full(len(rows), at)))[:, 1]
            )
            curves[:, at] = left
        return {"risk": -curves.sum(1), "survival": curves}

    return ask


MODELS: dict[str, Callable[[Split, Split, dict[str, Any]], Ask]] = {
    "cox": cox,
    "logistic_hazard": logistic_hazard,
    "deephit": deephit,
    "torchsurv": torchsurv,
    "boosting": boosting,
}

if __name__ == "__main__":
    main()
