"""A run that trains retirement, and the models that it leaves.

    lives = DeliveryLives(import_delivery("ads.csv"))
    trained = train_retirement(lives, Path("runs/retire"))
    print(retirement_list(trained.model, lives, values=trained.values).text())

RUN/run holds curves and the checkpoint, RUN/model says how long a unit goes on, RUN/values what it
will bring.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adwright.core.artifacts import load_artifact
from adwright.core.clock import Clock
from adwright.core.errors import ArtifactError, DataError
from adwright.core.progress import say
from adwright.creative.lifetime.hazards.fit import LifetimeConfig
from adwright.creative.lifetime.hazards.fitted import KIND, FittedLifetime
from adwright.creative.lifetime.hazards.inputs import Vectors
from adwright.creative.lifetime.retirement.lives import LifeRecord
from adwright.creative.lifetime.retirement.training_units import fit_retirement
from adwright.creative.lifetime.retirement.values import ValueConfig, ValueModel, fit_values
from adwright.training.loop.callbacks import Callback
from adwright.training.run_settings import require_free

__all__ = ["TrainedRetirement", "open_retirement", "train_retirement"]

_MODEL, _RUN, _VALUES = "model", "run", "values"


@dataclass(frozen=True, eq=False)
class TrainedRetirement:
    """model: trained. id: of its artifact. folder: the artifact's. values: what units will bring;
    None where the record was too short to learn it."""

    model: FittedLifetime
    id: str
    folder: Path
    values: ValueModel | None = None

    def text(self) -> str:
        """In a line: what validation says of the model that was kept."""
        kept = [one for one in self.model.records if one.get("epoch") == self.model.epoch]
        measured = f", C {kept[0]['valid_c']:.3f}" if kept and "valid_c" in kept[0] else ""
        return f"{self.folder}: loss {self.model.valid_loss:.4f} on validation{measured}"


def train_retirement(
    lives: LifeRecord,
    out: str | Path,
    config: LifetimeConfig | None = None,
    *,
    before: int | None = None,
    vectors: Vectors | None = None,
    resume: bool = False,
    stop_now: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
    clock: Clock | None = None,
) -> TrainedRetirement:
    """Train on a record and save the model. before, vectors: as of `fit_retirement`.

    resume, stop_now: continue or close a run that was interrupted. overwrite: replace a model and
    its run. Raises ResourceError where there is a model (without `overwrite`), and as
    `fit_retirement`.
    """
    folder = Path(out)
    if not overwrite:
        require_free(folder / _MODEL, "a model")
    if overwrite and not resume and (folder / _RUN).exists():
        shutil.rmtree(folder / _RUN)
    model = fit_retirement(
        lives,
        before,
        config,
        vectors=vectors,
        out=folder / _RUN,
        resume=resume,
        stop_now=stop_now,
        callbacks=callbacks,
    )
    values = _values(lives, int(model.config["before"]), int(model.config["seed"]))
    if values is not None:
        values.save(folder / _VALUES, overwrite=True)
    elif (folder / _VALUES).exists():
        shutil.rmtree(folder / _VALUES)
    identity = model.save(folder / _MODEL, overwrite=overwrite, clock=clock)
    return TrainedRetirement(model, identity, folder / _MODEL, values)


def open_retirement(path: str | Path) -> TrainedRetirement:
    """The model of a run, or of its own folder. Raises as `load_artifact`, and ArtifactError for a
    model that was not trained by `train_retirement`: it does not say what it may have seen."""
    inside = Path(path) / _MODEL
    folder = inside if inside.is_dir() else Path(path)
    artifact = load_artifact(folder, kind=KIND)
    model = FittedLifetime.load(artifact)
    if "before" not in model.config:
        raise ArtifactError(
            "this model does not say up to when it was trained",
            where=str(folder),
            hint="train it with train_retirement, or `adwright retire train`",
        )
    beside = folder.parent / _VALUES
    values = ValueModel.load(beside) if beside.is_dir() else None
    return TrainedRetirement(model, artifact.id, folder, values)


def _values(lives: LifeRecord, before: int, seed: int) -> ValueModel | None:
    try:
        return fit_values(lives, before, ValueConfig(seed=seed))
    except DataError as error:
        say(f"value per cost is taken as it was, not as the features tell: {error.what}")
        return None
