"""adwright tune jobs: several LoRA tunings over one base, all in each step."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from adwright.cli.shared import show_table
from adwright.cli.tune.options import as_loss

__all__ = ["jobs"]


def jobs(
    file: Path,
    *,
    out: Path | None = None,
    device: str | None = None,
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Tune several adapters of one base together: small jobs share the cost of a step.

    Each job has its own texts, settings and end, and comes out as if it had been tuned alone, up
    to rounding. OUT/NAME then holds `tuned`, which `adwright lm serve` reads, and `report.json`,
    which `adwright tune compare` reads. Only LoRA and LoRAFA share a step. A run that was killed
    continues with --resume and ends with the same bits.

    Options:
        file: TOML or JSON: a table `jobs`, each with a name and its data.
        out: Folder for the run, instead of the file's.
        device: Where it is computed, instead of the file's: cpu, cuda.
    """
    from dataclasses import replace

    from adwright.core.config import to_jsonable
    from adwright.training.tuning.run import read_jobs, run_jobs

    asked = read_jobs(file)
    if out is not None:
        asked = replace(asked, out=out)
    if device is not None:
        asked = replace(asked, device=device)
    if dry_run:
        typer.echo(json.dumps(to_jsonable(asked), indent=1))
        return
    reports = run_jobs(asked, resume=resume)
    show_table(
        ("job", "method", "trainable", "steps", "base nats", "held nats", "saved in"),
        [
            (
                name,
                report.method,
                f"{report.trainable:,}",
                str(report.steps),
                as_loss(report.base_nll),
                as_loss(report.valid_nll),
                str(asked.out / name / "tuned"),
            )
            for name, report in reports.items()
        ],
    )
