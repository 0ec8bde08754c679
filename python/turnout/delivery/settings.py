"""What deliveries need to know of the configuration, with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import RouterConfig


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Settings of an :class:`~turnout.delivery.outbox.Outbox`. Times in seconds."""

    path: str
    max_bytes: int = 1 << 30
    """Of the unsettled messages."""
    max_messages: int = 1_000_000
    """Unsettled ones."""
    max_age: float = 7 * 86_400.0
    """A message older than that at a start expires."""
    window: float = 600.0
    """For how long the id of a delivered message is remembered; 0: not at all."""
    max_ids: int = 100_000
    """Ids remembered, the latest."""


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Settings of a :class:`~turnout.delivery.deliverer.Deliverer`. Times in seconds."""

    timeout: float = 5.0
    """For one message from acceptance on, waiting and all attempts together."""
    concurrency: int = 256
    """Messages settled at once; with parallel branches, each branch counts."""
    max_waiting: int = 100_000
    """Messages accepted and not yet under way; beyond it ``accept`` and ``dispatch`` wait."""
    pool_waiting: Mapping[str, int] = field(default_factory=dict)
    """Messages that may wait for a pool; of a pool that is not named, as many as there is room left."""
    parallel: bool = True
    """Whether the pools of a route with mode ``all`` are delivered to at once rather than one after another."""
    validation: bool = True
    """Whether a message is checked before it is accepted."""
    max_attempts: int = 4
    """Attempts of one message, or of one branch of it, the first included."""
    attempt_timeout: float = float("inf")
    """For one attempt; the message's time bounds it too."""
    base_delay: float = 0.05
    max_delay: float = 2.0
    budget_percent: float = 20.0
    budget_per_second: float = 10.0
    hedge_share: float = 0.0
    """The share of attempts, 0 to 1, by whose latency a hedge begins beside one that lasts longer; 0: none does."""
    hedge_samples: int = 100
    """Attempts of a pool that must have been seen before."""
    failover: bool = True
    """Whether a further attempt goes to another destination; else all attempts go to the first one."""
    wait_for_recovery: bool = True
    """Whether a message for a pool of which none is fit waits for the earliest recovery."""
    max_kept: int = 100_000
    """Dead letters kept; when there are as many, nothing new is accepted. 0: they are counted and not kept."""

    schedule: Sequence[float] = ()
    """Seconds to wait before each further round of attempts."""
    pool_schedules: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The same of pools that have their own."""
    outbox: OutboxSettings | None = None
    """None: what is accepted is in memory only."""
    custom_rules: bool = True
    """Whether the stage of that name is configured; else deciding never has to await."""

    schedules: bool = field(init=False)
    """Whether any message may have further rounds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", bool(self.schedule or self.pool_schedules))

    def schedule_of(self, pool: str) -> Sequence[float]:
        """Seconds to wait before each further round for a pool."""
        return self.pool_schedules.get(pool, self.schedule)

    @classmethod
    def of(cls, config: RouterConfig | DeliverySettings) -> DeliverySettings:
        """The settings that a configuration gives; settings give themselves."""
        if isinstance(config, DeliverySettings):
            return config
        performance, retries, outbox = config.performance, config.retries, config.outbox
        return cls(
            timeout=performance.timeout,
            concurrency=performance.concurrency,
            max_waiting=performance.max_waiting,
            parallel=performance.parallel_processing,
            validation=config.routing.validation,
            max_attempts=config.max_attempts,
            attempt_timeout=float("inf") if retries.attempt_timeout is None else retries.attempt_timeout,
            base_delay=retries.base_delay,
            max_delay=retries.max_delay,
            budget_percent=retries.budget_percent,
            budget_per_second=retries.budget_per_second,
            hedge_share=0.0 if retries.hedge is None else retries.hedge.percentile / 100.0,
            hedge_samples=100 if retries.hedge is None else retries.hedge.min_samples,
            pool_waiting={
                name: pool.max_waiting for name, pool in config.pools.items() if pool.max_waiting is not None
            },
            failover=config.failover_mode == "automatic",
            wait_for_recovery=config.failover.on_exhausted != "raise",
            schedule=retries.schedule,
            pool_schedules={
                name: pool.retries.schedule for name, pool in config.pools.items() if pool.retries is not None
            },
            max_kept=config.dead_letters.max_kept,
            outbox=None if outbox is None else OutboxSettings(**outbox.model_dump()),
            custom_rules="custom_rules" in config.routing.routing_rules,
        )
