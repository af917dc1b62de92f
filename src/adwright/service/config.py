"""The settings of the service, with the defaults that it was measured with."""

from __future__ import annotations

from adwright.core.config import Count, Natural, NotNegative, Positive, settings
from adwright.web.limits import GateLimits, require


@settings
class ServiceConfig(GateLimits):
    """Limits of one process of the service; lengths of ids and lists are in `schemas`.

    deadline_ms: time for a decision where the request names none. max_deadline_ms: the longest
        that a request may name.
    batch_size, batch_wait_ms: a batch of decisions closes at this many, or so long after its
        first one; also the most that are computed together.
    max_queue: decisions that may be in work. max_pending_rows: events that may wait for the
        store. Of either a tenant may have as much as is still free, so that one that floods
        leaves half to the others. Beyond, as beyond max_in_flight, a request is shed with 429.
    commit_rows: the most rows of one transaction. commit_ms: how long one should take: it gets
        as many rows as the latest ones could write in that time.
    store_seconds: how long a connection, a lock or a statement of the store may take; a call about
        campaigns that takes longer is answered with 503.
    model_threads: models of so many tenants run side by side.
    hung_seconds: a call to a model that is so late after its deadline is given up: another
        thread goes on, and the tenant is served from the fallback. hung_threads: given up at a
        time, at most. retry_seconds: until such a model is tried again once its call returned;
        twice as long each time that it hangs again.
    grace_ms: how long after its deadline a decision waits for the store; then it is answered 503.
    events_seconds: the same for events, from their arrival. late_store_seconds: while a
        transaction takes longer than this, what comes is answered 503 at once.
    stop_seconds: how long the end waits for models and the store.
    key_seconds: how long a key is believed without asking the store; a revoked key lives on at
        most so long.
    key_stale_seconds: how long it is believed since it was last asked for, while the store cannot
        be asked; 0 for no longer than key_seconds.
    poll_seconds: how often the folder of models is looked at. stops_poll_seconds: how often the
        store is asked for stops that other processes took in. events_poll_seconds: likewise for
        what people did.
    drain_seconds: how long the service still answers, not ready, after it was told to stop.
    tenant_metrics: /metrics tells of each tenant, too, by name, see `decide.tenant_metrics`.
    audits: folder with a folder of audits of each tenant, see `service.audits`; empty for none.
    agents: folder with a folder of apps of each tenant, see `service.agent_runs`; empty for none.
    agent_runs: runs of the agent at a time, each a browser; of a tenant there is one.
    agent_confirm_seconds: how long a change waits for a yes; then it is refused.
    agent_model_url, agent_model: an OpenAI-compatible endpoint, and its model, that may be asked
        for scripts; empty for kept tasks and plans alone.
    max_in_flight, max_body_bytes, body_seconds, head_seconds and so on: those of `GateLimits`.

    Raises ConfigError that names the setting.
    """

    deadline_ms: Positive = 40.0
    max_deadline_ms: Positive = 2000.0
    batch_size: Count = 32
    batch_wait_ms: NotNegative = 2.0
    max_queue: Count = 256
    max_pending_rows: Count = 20_000
    commit_rows: Count = 5_000
    store_seconds: Positive = 5.0
    commit_ms: Positive = 8.0
    model_threads: Count = 4
    hung_seconds: Positive = 1.0
    hung_threads: Natural = 8
    retry_seconds: NotNegative = 10.0
    grace_ms: NotNegative = 1000.0
    events_seconds: Positive = 10.0
    late_store_seconds: Positive = 2.0
    stop_seconds: Positive = 15.0
    key_seconds: NotNegative = 5.0
    key_stale_seconds: NotNegative = 300.0
    poll_seconds: Positive = 1.0
    stops_poll_seconds: Positive = 1.0
    events_poll_seconds: Positive = 0.4
    drain_seconds: NotNegative = 0.0
    tenant_metrics: bool = False
    audits: str = ""
    agents: str = ""
    agent_runs: Count = 2
    agent_confirm_seconds: Positive = 300.0
    agent_model_url: str = ""
    agent_model: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        named = bool(self.agent_model) or not self.agent_model_url
        require(self, "agent_model", named, "must name the model of agent_model_url")
        within = self.deadline_ms <= self.max_deadline_ms
        most = f"must not exceed max_deadline_ms, {self.max_deadline_ms:g}"
        require(self, "deadline_ms", within, most)
