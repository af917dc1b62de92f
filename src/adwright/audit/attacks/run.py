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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adwright.audit.attacks.attack import Attack, Spending, SpendingMeter
from adwright.audit.report.trials import AUDIT_MARK, SellerText, write_texts
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ResumeError
from adwright.core.journal import append_rows, read_rows
from adwright.core.progress import progress

_ASKED, _STEPS, _TEXTS = "attack.json", "steps.jsonl", "texts.jsonl"
_DAMAGED = "remove the attack's folder, and run it anew"


@dataclass(frozen=True)
class AttackOutcome:
    """What an attack came to. text: what it adds behind `own` in `field`. values: of all steps,
    losses or mean ranks."""

    product: str
    field: str
    own: str
    text: str
    tier: str
    model: str
    seed: int
    values: tuple[float, ...]
    spent: Spending

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
) -> AttackOutcome:
    """Run an attack to its end, or go on where it was stopped.

    meter: the one that the attack counts with. folder: None keeps nothing. seed: of the attack, for
    the record. note: more for the record, such as its settings; another one is another attack.

    Raises ConfigError for a catalogue that is not declared as one's own; ResumeError where the
    folder holds another attack; FileUnreadableError for a damaged step; ResourceError
    where it cannot be written.
    """
    goal = attack.goal
    goal.catalogue.require_own()
    place = None if folder is None else Path(folder)
    rows = [] if place is None else _kept_rows(place, _asked(attack, meter, seed, note or {}))
    values = [float(row["value"]) for row in rows]
    text, state = (rows[-1]["text"], rows[-1]["state"]) if rows else ("", None)
    if rows:
        meter.resume(_spending(rows[-1]["spent"]))

    def shown() -> str:
        return f"{values[-1]:.3f}" if values else ""

    with progress(None, f"Attack {attack.tier} on {goal.name}", "steps", note=shown) as bar:
        for step in attack.steps(state):
            text = step.text
            values.append(step.value)
            if place is not None:
                row = asdict(step) | {"spent": asdict(meter.spent)}
                append_rows(place / _STEPS, [row])
            bar.advance()
    outcome = AttackOutcome(
        goal.name,
        goal.field,
        goal.own_text,
        text,
        attack.tier,
        attack.model,
        seed,
        tuple(values),
        meter.spent,
    )
    if place is not None and values:
        write_texts(place / _TEXTS, [outcome.seller_text()])
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


def _kept_rows(folder: Path, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps that a folder holds, whose attack is the one that is asked for."""
    path, plain, before = folder / _ASKED, json.loads(json.dumps(asked)), None
    try:
        before = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        atomic_write_text(path, json.dumps(plain, indent=1) + "\n")
    except (OSError, ValueError) as error:
        raise ResumeError(
            f"a file of the attack cannot be read: {error}", where=str(path), hint=_DAMAGED
        ) from error
    else:
        if before != plain:
            held = before if isinstance(before, dict) else {}
            other = next((key for key in plain if held.get(key) != plain[key]), "audit")
            raise ResumeError(
                f"the folder holds another attack: its {other} differs",
                where=str(folder),
                hint="give each attack a folder of its own",
            )
    return read_rows(folder / _STEPS, _step, hint=_DAMAGED)


def _step(row: dict[str, Any]) -> dict[str, Any]:
    float(row["value"]), str(row["text"]), dict(row["state"]), _spending(row["spent"])
    return row
