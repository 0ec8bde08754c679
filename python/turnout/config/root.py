"""The whole configuration, and what follows from it where several keys speak of one thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, PrivateAttr, model_validator

from ..errors import Problem
from .model import Model, ModelError, Name
from .rate import RateLimitConfig
from .references import DEAD_LETTER, DEFAULT_POOL, failover_modes, find_problems
from .sections import (
    DeadLetterConfig,
    FailoverConfig,
    FailoverMode,
    LoadBalancingConfig,
    OptimizationConfig,
    OutboxConfig,
    PerformanceConfig,
    Policy,
    QualityConfig,
    RetryConfig,
    RoutingConfig,
)
from .source import KeyPath, Source
from .state import StateConfig
from .topology import Admin, Clearance, DestinationConfig, PoolConfig, PoolMember, RuleConfig, UrgentConfig


@dataclass(frozen=True)
class Member:
    """A destination in a pool, with every default filled in."""

    id: str
    weight: int
    tier: int
    max_in_flight: int | None
    rate_limit: RateLimitConfig | None
    cost: float
    clearance: Clearance
    admin: Admin


class RouterConfig(Model):
    """Everything a router is made from. Every name in it names something; build one with the `load_*` functions.

    `pools` and `destinations` are not to be changed in place. Where `pools` is absent and there are destinations,
    one pool named `default` holds them all and is the default route, unless `default` says otherwise.
    """

    routing: RoutingConfig = Field(default=RoutingConfig(), description="How a message finds its route.")
    load_balancing: LoadBalancingConfig = Field(
        default=LoadBalancingConfig(), description="How a destination is picked from a pool."
    )
    failover: FailoverConfig = Field(
        default=FailoverConfig(), description="When a destination is taken out of its pool, and how it comes back."
    )
    optimization: OptimizationConfig = Field(
        default=OptimizationConfig(), description="What the optimizer works towards."
    )
    performance: PerformanceConfig = Field(
        default=PerformanceConfig(), description="Time and memory a router may take."
    )
    quality: QualityConfig = Field(default=QualityConfig(), description="How failures are met, and what is measured.")
    retries: RetryConfig = Field(
        default=RetryConfig(), description="How often, and how soon, a failed delivery is tried again."
    )
    dead_letters: DeadLetterConfig = Field(
        default=DeadLetterConfig(), description="What is kept of messages that were given up on."
    )
    state: StateConfig = Field(default=StateConfig(), description="Where the live state of destinations is kept.")
    outbox: OutboxConfig | None = Field(
        default=None, description="Where accepted messages are kept on disk until they are settled. Absent: in memory."
    )
    rules: tuple[RuleConfig, ...] = Field(default=(), description="The rules of the content_based stage.")
    urgent: UrgentConfig | None = Field(
        default=None, description="The lane of urgent messages: the priority_based stage."
    )
    default: Name | None = Field(
        default=None,
        description="The pool of messages that no stage gives a route, or dead_letter. Absent: NoRouteError.",
    )
    pools: dict[Name, PoolConfig] = Field(
        default={}, description="Pools by id: destinations under one balancing policy."
    )
    destinations: dict[Name, DestinationConfig] = Field(default={}, description="Destinations by id.")

    _source: Source | None = PrivateAttr(None)
    _prefix: KeyPath = PrivateAttr(())

    @model_validator(mode="after")
    def _fits_together(self) -> RouterConfig:
        if found := find_problems(self):
            raise ModelError(found)
        if self.destinations and not self.pools:
            # Written past `frozen` and the record of given keys: it follows from the destinations, and must follow
            # from them again when `extend` adds some.
            members = tuple(PoolMember(id=name) for name in self.destinations)
            self.__dict__["pools"] = {DEFAULT_POOL: PoolConfig(destinations=members)}
            if self.default is None:
                self.__dict__["default"] = DEFAULT_POOL
        return self

    def __eq__(self, other: object) -> bool:
        """Equal settings, secrets included; where they were read from does not count."""
        if not isinstance(other, RouterConfig):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    __hash__ = None  # type: ignore[assignment]

    @property
    def policy(self) -> Policy:
        """The balancing policy of pools that name none."""
        return self.routing.load_balancing or self.load_balancing.algorithm or "round_robin"

    @property
    def failover_mode(self) -> FailoverMode:
        """What all keys about failover say together; they do not contradict one another."""
        return failover_modes(self)[0][0]  # type: ignore[return-value]

    @property
    def max_attempts(self) -> int:
        """Attempts for one message, the first included: one where `quality.error_recovery` is false."""
        return self.retries.max_attempts if self.quality.error_recovery else 1

    @property
    def default_pool(self) -> str | None:
        """The pool of messages without a route; None if there is none, or they become dead letters."""
        return None if self.default == DEAD_LETTER else self.default

    @property
    def default_is_dead_letter(self) -> bool:
        """Whether messages without a route become dead letters."""
        return self.default == DEAD_LETTER

    def policy_of(self, pool: str) -> Policy:
        """The balancing policy of a pool. Raises KeyError for an unknown pool."""
        return self.pools[pool].policy or self.policy

    def members_of(self, pool: str) -> tuple[Member, ...]:
        """The destinations of a pool, in order, with every default filled in. Raises KeyError for an unknown pool."""
        return tuple(self._member(member) for member in self.pools[pool].destinations)

    def _member(self, member: PoolMember) -> Member:
        own = self.destinations[member.id]
        return Member(
            id=member.id,
            weight=own.weight if member.weight is None else member.weight,
            tier=own.tier if member.tier is None else member.tier,
            max_in_flight=own.max_in_flight,
            rate_limit=own.rate_limit,
            cost=own.cost,
            clearance=own.clearance,
            admin=own.admin,
        )

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem found later, such as a rule that does not compile, at ``path`` below the root.

        It has the file, line and column if that part of the configuration was read from a text.
        """
        path = (*self._prefix, *path)
        if self._source is None or not self._source.has(path):
            return Problem(path, message)
        return self._source.problem(path, message)


class ConfigFile(Model):
    """turnout configuration"""

    message_router: RouterConfig = Field(description="The router.")


def plain(config: RouterConfig) -> Mapping[str, object]:
    """The keys that were given, as they are; the values are models."""
    return {name: getattr(config, name) for name in RouterConfig.model_fields if name in config.model_fields_set}
