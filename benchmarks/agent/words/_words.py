"""The words of tasks, by sort, app and kind.

"open" ones are those on which rules are developed, and which training on tasks may use; "seen" were
judged once, and what became of them has been looked at since; "judged" are those whose results are
published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from benchmarks.agent.words._judged import JUDGED
from benchmarks.agent.words._open import OPEN
from benchmarks.agent.words._seen import SEEN

Wordings: TypeAlias = Literal["open", "seen", "judged"]
WORDINGS: tuple[Wordings, ...] = get_args(Wordings)
WORDS: Mapping[Wordings, Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "open": OPEN,
    "seen": SEEN,
    "judged": JUDGED,
}
