"""Run an attack as a job: kept step by step, resumed, shown, and marked for what it is.

    outcome = run_attack(attack, meter, folder="runs/attack/coffee-4-T2-0")
    outcome.seller_text()           # as an audit tries it, in fresh orders

    FOLDER/
      attack.json     what was asked for, with the mark of an audit; another attack is refused here
      steps.jsonl     a line a step: best text, its value, what was spent, the state
      texts.jsonl     the text that was found, with the mark; written when the attack has ended

A process may be killed anywhere: the attack goes on behind the last whole step. Nothing is ever
written to a catalogue.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adwright.audit.attacks.attack import Attack, AttackStep, Spending, SpendingMeter
from adwright.audit.report.trials import AUDIT_MARK, SellerText, write_texts
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ResumeError
from adwright.core.journal import append_rows, read_rows
from adwright.core.progress import progress

_ASKED, _STEPS, _TEXTS = "attack.json", "steps.jsonl", "texts.jsonl"
_DAMAGED = "remove the attack's folder, and run it anew"


@dataclass(frozen=True)
class AttackOutcome:
    """What an attack came to. text: what it adds behind `own` in `field`. value: of its last step,
    a loss or a mean rank. values: of all steps. ended: whether it ended by itself or by its budget,
    and was not stopped."""

    product: str
    field: str
    own: str
    text: str
    tier: str
    model: str
    seed: int
    value: float
    values: tuple[float, ...]
    spent: Spending
    ended: bool

    def seller_text(self) -> SellerText:
        """As an audit tries it."""
        return SellerText(self.product, self.field, self.own + self.text, self.tier, str(self.seed))


def run_attack(
    attack: Attack,
    meter: SpendingMeter,
    *,
    folder: str | Path | None = None,
    seed: int = 0,
    note: Mapping[str, Any] | None = None,
    stop: Callable[[], bool] | None = None,
) -> AttackOutcome:
    """Run an attack to its end, or go on where it was stopped.

    meter: the one that the attack counts with. folder: None keeps nothing. seed: of the attack, for
    the record. note: more for the record, such as its settings; another one is another attack.
    stop: asked between two steps, whether to leave the rest for later.

    Raises ConfigError for a catalogue that is not declared as one's own; ResumeError where the
    folder holds another attack; FileUnreadableError for a damaged step; ResourceError
    where it cannot be written.
    """
    goal = attack.goal
    goal.catalogue.require_own()
    kept = (
        None
        if folder is None
        else _KeptAttack(Path(folder), _asked(attack, meter, seed, note or {}))
    )
    last = None if kept is None or not kept.rows else kept.rows[-1]
    values = [] if kept is None else [float(row["value"]) for row in kept.rows]
    text, value, ended = ("", math.inf, True) if last is None else (last["text"], values[-1], True)
    if last is not None:
        meter.resume(_spending(last["spent"]))
    label = f"Attack {attack.tier} on {goal.name}"
    with progress(None, label, "steps", note=lambda: f"{value:.3f}" if values else "") as bar:
        for step in attack.steps(None if last is None else last["state"]):
            text, value = step.text, step.value
            values.append(value)
            if kept is not None:
                kept.append(step, meter.spent)
            bar.advance()
            if stop is not None and stop():
                ended = False
                break
    outcome = AttackOutcome(
        goal.name, goal.field, goal.own_text, text, attack.tier, attack.model, seed, value,
        tuple(values), meter.spent, ended,
    )  # fmt: skip
    if kept is not None and ended and values:
        write_texts(kept.folder / _TEXTS, [outcome.seller_text()])
    return outcome


def _asked(
    attack: Attack, meter: SpendingMeter, seed: int, note: Mapping[str, Any]
) -> dict[str, Any]:
    goal = attack.goal
    return {
        "audit": AUDIT_MARK,
        "tier": attack.tier,
        "model": attack.model,
        "catalogue": goal.catalogue.name,
        "digest": goal.catalogue.digest(),
        "product": goal.name,
        "field": goal.field,
        "seed": seed,
        "budget": asdict(meter.budget),
        "note": dict(note),
    }


def _spending(value: Mapping[str, Any]) -> Spending:
    return Spending(float(value["calls"]), float(value["cpu_seconds"]), int(value["trials"]))


class _KeptAttack:
    """The folder of a job. rows: the steps that it holds."""

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self.folder, self._path = folder, folder / _STEPS
        before = self._read_asked()
        plain = json.loads(json.dumps(asked))
        if before is None:
            atomic_write_text(folder / _ASKED, json.dumps(plain, indent=1) + "\n")
        elif before != plain:
            other = next(
                (
                    key
                    for key in plain
                    if not isinstance(before, dict) or before.get(key) != plain[key]
                ),
                "audit",
            )
            raise ResumeError(
                f"the folder holds another attack: its {other} differs",
                where=str(folder),
                hint="give each attack a folder of its own",
            )
        self.rows = read_rows(self._path, _step, hint=_DAMAGED)

    def append(self, step: AttackStep, spent: Spending) -> None:
        """Keep a step; it is on the disk afterwards."""
        row = {
            "text": step.text,
            "value": step.value,
            "note": step.note,
            "spent": asdict(spent),
            "state": step.state,
        }
        append_rows(self._path, [row])

    def _read_asked(self) -> Any:
        path = self.folder / _ASKED
        try:
            return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ResumeError(
                f"a file of the attack cannot be read: {error}", where=str(path), hint=_DAMAGED
            ) from error


def _step(row: dict[str, Any]) -> dict[str, Any]:
    float(row["value"]), str(row["text"]), dict(row["state"]), _spending(row["spent"])
    return row
