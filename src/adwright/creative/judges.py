"""Open any judge of ads that was trained, by what lies in its folder.

judge = open_judge("runs/recall")             # of clicks, recall or life, what was trained there
judge.judge(records)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ArtifactError
from adwright.creative.judging import AdJudge
from adwright.creative.lifetime.survival_curves import KIND as LIFE_KIND
from adwright.creative.lifetime.survival_curves import PictureLife
from adwright.creative.memory.fitted import KIND as MEMORY_KIND
from adwright.creative.memory.fitted import FittedMemory
from adwright.creative.memory.language import load_language_memory
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.response.fit import KIND as CLICK_KIND
from adwright.creative.response.fit import FittedClickRate

#: Kind of an artifact to what opens it.
JUDGES: Mapping[str, Callable[[Path], AdJudge]] = {
    CLICK_KIND: FittedClickRate.load,
    MEMORY_KIND: FittedMemory.load,
    LIFE_KIND: PictureLife.load,
}
_MODEL, _LANGUAGE = "model", "memory.json"


def open_judge(folder: str | Path) -> AdJudge:
    """The judge of a run, or of a model's own folder. Raises ArtifactError where there is none, and
    as its loader."""
    place = Path(folder)
    if (place / _LANGUAGE).is_file():
        return load_language_memory(place)
    inside = place / _MODEL
    home = inside if inside.is_dir() else place
    artifact = load_artifact(home)
    if artifact.kind not in JUDGES:
        raise ArtifactError(
            f"a model of kind {artifact.kind!r} judges no ads",
            where=str(home),
            hint="name a run of `adwright creative train`",
        )
    return JUDGES[artifact.kind](home)


def judge_of_texts(
    folders: Sequence[Path],
) -> Callable[[Sequence[str], str, str], npt.NDArray[np.float64]]:
    """Judges of these runs, of texts alone: of texts, what they are (headline, description ...) and
    a brand, the mean of the texts' ranks, the higher the better. Raises as `open_judge`."""
    judges = [open_judge(one) for one in folders]

    def judged(texts: Sequence[str], kind: str, brand: str) -> npt.NDArray[np.float64]:
        is_title = kind in ("headline", "title")
        records = [
            AdRecord(brand=brand, title=text if is_title else "", words="" if is_title else text)
            for text in texts
        ]
        values = [one.judge(records).value for one in judges]
        ranks = [np.argsort(np.argsort(value, kind="stable"), kind="stable") for value in values]
        found: npt.NDArray[np.float64] = np.mean(np.stack(ranks), 0, dtype=np.float64)
        return found

    return judged
