"""The sections of the specification: routing, load balancing, failover, optimization, performance, quality.

A switch that is None was not given; :class:`~.root.RouterConfig` says what holds then.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from .duration import Duration, PositiveDuration
from .model import Count, Finding, Model, ModelError, Number, Switch

Stage = Literal["content_based", "priority_based", "destination_based", "custom_rules"]
STAGES: tuple[str, ...] = get_args(Stage)
"""The families of rules, each a stage of routing."""

Policy = Literal[
    "round_robin",
    "weighted_round_robin",
    "random",
    "weighted_random",
    "least_connections",
    "weighted_least_connections",
    "response_time",
    "prequal",
    "health_based",
    "maglev",
    "rendezvous",
    "adaptive",
    "auto",
]
POLICIES: tuple[str, ...] = get_args(Policy)
"""The balancing policies of this release."""
KEYED: tuple[Policy, ...] = ("maglev", "rendezvous")
"""Those that go by a message's key. ``auto`` does so where a pool has ``key`` or ``bounded_load``."""
ADJUSTABLE: tuple[Policy, ...] = (
    "weighted_round_robin",
    "weighted_random",
    "weighted_least_connections",
    "response_time",
    "prequal",
    "health_based",
    "adaptive",
    "auto",
)
"""Those that go by weights, and not by a key that would change its place with them; ``auto`` where it has no key."""

FailoverMode = Literal["automatic", "manual", "off"]
CachingMode = Literal["auto", "on", "off"]

OnExhausted = Literal["panic", "wait", "raise"]


def _stages(value: object) -> object:
    if isinstance(value, (list, tuple)):
        texts = [item for item in value if isinstance(item, str)]
        twice = sorted({text for text in texts if texts.count(text) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))} is listed twice; each stage is tried once")
    return value


def _mode(value: object) -> object:
    """YAML 1.1 writers turn an unquoted ``off`` into false."""
    return "off" if value is False else value


def _caching_mode(value: object) -> object:
    """The specification's switch, which is also what YAML 1.1 writers turn an unquoted ``on`` into."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _caching(value: object) -> object:
    """A mode stands for the settings with that mode."""
    return {"mode": value} if isinstance(value, (str, bool)) else value


class RoutingConfig(Model):
    """How a message finds its route."""

    routing_rules: Annotated[
        tuple[Stage, ...],
        Field(min_length=1),
        BeforeValidator(_stages, Annotated[list[Stage], Field(min_length=1)]),
    ] = Field(
        default=("content_based", "priority_based", "destination_based"),
        description="Stages in the order they are tried; the first that yields a route decides. content_based: the "
        "rules. priority_based: an urgent message takes the urgent lane. destination_based: the message names its "
        "destination. custom_rules: Python callables.",
        json_schema_extra={"uniqueItems": True},
    )
    load_balancing: Policy | None = Field(
        default=None,
        description="Balancing policy of pools that name none. Default: load_balancing.algorithm, or round_robin.",
    )
    failover: Annotated[FailoverMode | None, BeforeValidator(_mode, FailoverMode | Literal[False] | None)] = Field(
        default=None,
        description="What happens when a destination fails. automatic: another one is tried. manual, off: "
        "further attempts go to the same one; with manual, moving on is left to you, as by draining it. "
        "Default: automatic.",
    )
    validation: Switch = Field(
        default=True,
        description="Whether the envelope of a message is checked as a whole before it is delivered, not only what "
        "rules read; false: what is wrong there is replaced by a default.",
    )
    optimization: Switch = Field(default=False, description="Whether the optimizer's weights take part in balancing.")


class LoadBalancingConfig(Model):
    """How a destination is picked from a pool."""

    algorithm: Policy | None = Field(
        default=None, description="Balancing policy of pools that name none; the same as routing.load_balancing."
    )
    health_checking: Switch = Field(
        default=True, description="Whether failing destinations are ejected from their pools."
    )
    dynamic_adjustment: Switch = Field(
        default=False,
        description="Whether weights follow what is observed: latency, errors, and utilisation where it is reported. "
        "For policies that go by weights and not by a message's key.",
    )
    failover: Switch | None = Field(
        default=None, description="false turns failover off. Default: as routing.failover, which it may not contradict."
    )
    performance_monitoring: Switch = Field(default=True, description="Whether latencies and outcomes are measured.")


class FailoverConfig(Model):
    """When a destination is taken out of its pool, and how it comes back."""

    automatic: Switch | None = Field(
        default=None,
        description="true: the next destination is tried by itself; false: failover is manual. "
        "Default: as routing.failover, which it may not contradict.",
    )
    redundancy: Switch = Field(default=True, description="Whether backup destinations (tier 1 and up) take over.")
    recovery_time: PositiveDuration = Field(
        default=30.0,
        description="How long a destination's first ejection lasts; each further one lasts longer by as much.",
    )
    health_monitoring: Switch = Field(default=True, description="Whether outcomes of deliveries decide on ejection.")
    performance_tracking: Switch = Field(
        default=True, description="Whether failovers and recoveries are counted and timed."
    )
    streak: Count = Field(default=5, ge=1, le=1_000_000, description="Failures in a row that eject a destination.")
    rate_window: PositiveDuration = Field(
        default=10.0,
        ge=0.1,
        description="Time over which outcomes are counted for the next four, in ten buckets; outliers are looked for "
        "once in it.",
    )
    failure_percent: Count = Field(
        default=50,
        ge=0,
        le=100,
        description="Share of failures and overload among a destination's outcomes in rate_window, in percent, that "
        "ejects it. 0: none does.",
    )
    min_requests: Count = Field(
        default=20, ge=1, le=500_000, description="Outcomes in rate_window below which that share says nothing."
    )
    outlier_stdev: Number = Field(
        default=1.9,
        ge=0,
        le=1_000,
        description="A destination is an outlier, and ejected, if its success rate in rate_window is so many standard "
        "deviations, and at least 5 percentage points, below the mean of its pool; 5 destinations must be comparable. "
        "0: none is looked for.",
    )
    outlier_min_requests: Count = Field(
        default=100,
        ge=1,
        le=500_000,
        description="Outcomes in rate_window below which a destination is not compared with the others.",
    )
    max_ejected_percent: Count = Field(
        default=10,
        ge=0,
        le=100,
        description="Share of a pool that may be ejected at once, in percent; one always may.",
    )
    max_ejection_time: PositiveDuration = Field(default=300.0, description="The longest an ejection lasts.")
    panic_threshold: Count = Field(
        default=50,
        ge=0,
        le=100,
        description="Share of healthy destinations, in percent, below which a pool with nowhere left to spill uses "
        "all of them, the ejected included. 0: never, as on_exhausted: wait.",
    )
    on_exhausted: OnExhausted = Field(
        default="panic",
        description="What happens when too few destinations are fit. panic: all are used, see panic_threshold, and the "
        "decision says so. wait: the unfit are never used; with none fit a delivery waits for the earliest recovery if "
        "that is before its deadline, and a decision alone raises NoDestinationError with retry_at. raise: as wait, "
        "but a delivery does not wait either.",
    )
    probation_successes: Count = Field(
        default=2, ge=1, le=1_000_000, description="Successes in a row that end a destination's probation."
    )
    slow_start: Duration = Field(
        default=10.0,
        description="Time in which the share and the max_in_flight of a destination that comes into use while others "
        "go on grow from a tenth to the whole: after an ejection, being unhealthy, drained, disabled or failed over, "
        "or when it is added to a pool; 0: at once.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> FailoverConfig:
        if self.recovery_time > self.max_ejection_time:
            message = "longer than max_ejection_time; raise that too"
            raise ModelError([Finding(("recovery_time",), message)])
        return self


class OptimizationConfig(Model):
    """What the optimizer works towards."""

    optimize_performance: Switch = Field(default=False, description="Whether low latency is an objective.")
    optimize_cost: Switch = Field(default=False, description="Whether low cost (destinations.*.cost) is an objective.")
    optimize_quality: Switch = Field(default=False, description="Whether a high success rate is an objective.")
    learning: Switch = Field(default=False, description="Whether weights are learned from outcomes while running.")


class CachingConfig(Model):
    """Whether, and how much of, the rules that messages matched are remembered."""

    mode: Annotated[CachingMode, BeforeValidator(_caching_mode, CachingMode | bool)] = Field(
        default="auto",
        description="auto: remembered while the router measures that looking a message up is cheaper than matching it. "
        "on, true: always. off, false: never. Rules that read live facts turn it off.",
    )
    max_entries: Count = Field(default=65_536, ge=16, le=100_000_000, description="Answers remembered, at most.")
    max_bytes: Count = Field(
        default=16_777_216,
        ge=65_536,
        le=1 << 40,
        description="Bytes for all of them, at most. Each is charged max_bytes / max_entries at least.",
    )


class PerformanceConfig(Model):
    """Time and memory a router may take."""

    timeout: PositiveDuration = Field(
        default=5.0, description="Time for one message, all attempts together; its own deadline may be sooner."
    )
    caching: Annotated[CachingConfig, BeforeValidator(_caching, CachingMode | bool | CachingConfig)] = Field(
        default=CachingConfig(),
        description="Whether the rule that a message matched is remembered, for the next that says the same in all "
        "fields that rules name: auto, on, off, or {mode, max_entries, max_bytes}. true is on, false is off.",
    )
    parallel_processing: Switch = Field(
        default=True,
        description="Whether the pools of a route with mode all are served at the same time; "
        "false: one after the other.",
    )
    optimization: Switch = Field(default=False, description="Whether routing tunes itself while running.")
    concurrency: Count = Field(default=256, ge=1, le=1_000_000, description="Messages settled at once.")
    max_waiting: Count = Field(
        default=100_000,
        ge=1,
        le=100_000_000,
        description="Messages accepted and waiting in memory; while there are as many, accepting another waits.",
    )


class HedgeConfig(Model):
    """A second attempt beside one that takes longer than most, on another destination; the first success wins."""

    percentile: Number = Field(
        default=95.0,
        ge=50,
        le=99.9,
        description="It begins when an attempt has lasted longer than so many percent of its pool's of late.",
    )
    min_samples: Count = Field(
        default=100, ge=10, le=1_000_000, description="Attempts of a pool that must have been seen before."
    )


Schedule = Annotated[tuple[PositiveDuration, ...], Field(max_length=100)]


class RetryConfig(Model):
    """How often, and how soon, a failed delivery is tried again."""

    max_attempts: Count = Field(default=4, ge=1, le=1_000, description="Attempts for one message, the first included.")
    base_delay: Duration = Field(default=0.05, description="Longest wait before the second attempt; doubles each time.")
    max_delay: Duration = Field(default=2.0, description="Longest wait before any attempt.")
    attempt_timeout: PositiveDuration | None = Field(
        default=None,
        description="Time for one attempt, so that a destination that hangs leaves time for another. "
        "Default: all that performance.timeout leaves.",
    )
    budget_percent: Number = Field(
        default=20.0,
        ge=0,
        le=1_000,
        description="Further attempts allowed, in percent of first ones; shared by all messages.",
    )
    budget_per_second: Number = Field(
        default=10.0, ge=0, le=1_000_000, description="Further attempts allowed each second besides budget_percent."
    )
    schedule: Schedule = Field(
        default=(),
        description="Waits before further rounds of attempts, such as [5s, 5m, 30m, 2h, 5h, 10h]: when the attempts of "
        "one round have failed for a reason that may pass, the message waits so long for the next, and becomes a dead "
        "letter after the last. Kept by an outbox while it waits. Default: one round.",
    )
    hedge: HedgeConfig | None = Field(
        default=None,
        description="Whether, and when, a second attempt begins beside one that takes long. It counts as an attempt "
        "and needs the budget, a free place of performance.concurrency, and failover. Default: never.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> RetryConfig:
        if self.base_delay > self.max_delay:
            raise ModelError([Finding(("base_delay",), "longer than max_delay; raise that too")])
        return self


class DeadLetterConfig(Model):
    """What is kept of messages that were given up on."""

    max_kept: Count = Field(
        default=100_000,
        ge=0,
        le=100_000_000,
        description="Dead letters kept in memory, and with an outbox on disk too, those of earlier runs among them; "
        "while there are as many, nothing new is accepted. What was accepted before still finds room beyond it. "
        "0: none is kept, only counted, on disk neither.",
    )


class OutboxConfig(Model):
    """The file that keeps accepted messages until they are settled, through the end of the process."""

    path: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="The SQLite file, made if it is not there; its directory must exist. Of one process at a time."
    )
    max_bytes: Count = Field(
        default=1 << 30, ge=1, le=1 << 50, description="Bytes of unsettled messages; beyond them new ones are refused."
    )
    max_messages: Count = Field(
        default=1_000_000, ge=1, le=100_000_000, description="Unsettled messages; beyond them new ones are refused."
    )
    max_age: PositiveDuration = Field(
        default=7 * 86_400.0, description="A message accepted longer ago than this when the router starts expires."
    )
    window: Duration = Field(
        default=600.0,
        description="For how long a delivered message's id is remembered, so that a repeat is not delivered; "
        "0: not at all.",
    )
    max_ids: Count = Field(
        default=100_000, ge=1, le=100_000_000, description="Ids remembered at most, the latest; also in memory."
    )


class QualityConfig(Model):
    """How failures are met, and what is measured."""

    error_recovery: Switch = Field(
        default=True, description="Whether a failed delivery is tried again; false: one attempt."
    )
    failover_support: Switch | None = Field(
        default=None, description="false turns failover off. Default: as routing.failover, which it may not contradict."
    )
    quality_metrics: Switch = Field(default=True, description="Whether the quality of decisions is measured.")
    learning: Switch = Field(default=False, description="Whether quality figures are learned from while running.")
