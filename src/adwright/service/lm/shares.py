"""Whose work is next: each tenant has its share of what is computed, and of the queue.

The tenant with the least in work comes next, and among equals the one that was served longest ago.
The last free place is kept for a tenant that has nothing in work, so that one that floods finds the
others before it, and they need not wait for it to end. Where the queue is full, the newest request
of the tenant that has most in it is refused.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from adwright.lm.engine.generation import Prompt, TokenPrompt

J = TypeVar("J")
#: Characters of a token, for a first guess.
_CHARACTERS = 4


@dataclass(frozen=True)
class Asked:
    """What a request asks for. answers: that are computed for it. tokens: of its prompts and of the
    longest answers that it may get. model: the name that the model has for itself."""

    tenant: str = ""
    answers: int = 1
    tokens: int = 0
    model: str = ""


def prompt_tokens(prompts: Sequence[Prompt]) -> int:
    """About how many tokens these are, without asking a tokeniser."""
    return sum(
        len(one.ids)
        if isinstance(one, TokenPrompt)
        else sum(
            len(text) // _CHARACTERS + 1
            for text in ([one] if isinstance(one, str) else [turn.content for turn in one])
        )
        for one in prompts
    )


class LmShares(Generic[J]):
    """Jobs that wait or are in work. Not safe for several threads.

    running: answers in work. waiting: jobs in the queue. several: whether there are several
    tenants; otherwise a job is one answer, and only these two bounds count. tenant_waiting: jobs of
    one tenant in the queue. tenant_tokens: of one tenant in work; it may have one job of more.
    """

    def __init__(
        self,
        *,
        running: int,
        waiting: int,
        several: bool = False,
        tenant_waiting: int = 0,
        tenant_tokens: int = 0,
    ) -> None:
        self.running = running
        self._most, self._several = waiting, several
        self._tenant_most, self._tenant_tokens = tenant_waiting, tenant_tokens
        self._spare = int(several and running > 1)
        self._queues: defaultdict[str, deque[tuple[J, Asked]]] = defaultdict(deque)
        self._work: dict[J, Asked] = {}
        self._served: defaultdict[str, int] = defaultdict(int)
        self._count = 0

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return sum(map(len, self._queues.values()))

    @property
    def working(self) -> Sequence[J]:
        """Jobs in work."""
        return tuple(self._work)

    def asks(self, model: str) -> bool:
        """Whether a job, in work or waiting, is for the model of that name."""
        queued = (asked for queue in self._queues.values() for _, asked in queue)
        return any(asked.model == model for asked in (*self._work.values(), *queued))

    def put(self, job: J, asked: Asked) -> None:
        """Let a job wait."""
        self._queues[asked.tenant].append((job, asked))

    def take(self) -> J | None:
        """The next job that may begin, in work from now on; None where all have to wait."""
        used = sum(map(self._weight, self._work.values()))
        for tenant in sorted(
            (tenant for tenant, queue in self._queues.items() if queue),
            key=lambda tenant: (self._in_work(tenant)[0], self._served[tenant]),
        ):
            job, asked = self._queues[tenant][0]
            answers, tokens = self._in_work(tenant)
            spare = self._spare if answers else 0
            fits = used + self._weight(asked) + spare <= self.running
            if not fits and not answers:
                return None  # it would wait for ever if others went past it
            over = self._several and answers and tokens + asked.tokens > self._tenant_tokens
            if fits and not over:
                self._queues[tenant].popleft()
                self._work[job] = asked
                self._count += 1
                self._served[tenant] = self._count
                return job
        return None

    def over(self) -> list[J]:
        """Take out of the queue, and return, what is too much for it."""
        found = []
        if self._several:
            for queue in self._queues.values():
                while len(queue) > self._tenant_most:
                    found.append(queue.pop()[0])
        while self.waiting > self._most:
            longest = max(self._queues.values(), key=len)
            found.append(longest.pop()[0])
        return found

    def drop(self) -> J | None:
        """Take a job out of the queue; None where none waits."""
        queue = next((queue for queue in self._queues.values() if queue), None)
        return None if queue is None else queue.pop()[0]

    def leave(self, job: J) -> None:
        """Forget a job, wherever it is."""
        if self._work.pop(job, None) is None:
            for queue in self._queues.values():
                for one in queue:
                    if one[0] is job:
                        queue.remove(one)
                        return

    def _weight(self, asked: Asked) -> int:
        return min(asked.answers, self.running - self._spare) if self._several else 1

    def _in_work(self, tenant: str) -> tuple[int, int]:
        """Answers and tokens of a tenant that are in work."""
        own = [asked for asked in self._work.values() if asked.tenant == tenant]
        return sum(map(self._weight, own)), sum(asked.tokens for asked in own)
