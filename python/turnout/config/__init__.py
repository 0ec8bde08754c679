"""Configuration: its shape, its defaults, and what is wrong with it, by file, line and column.

- :func:`load_file`, :func:`load_text`, :func:`load_dict`, :func:`extend` -> :class:`RouterConfig`, or ConfigError.
- :func:`notices` tells what a valid configuration says in vain; :func:`json_schema` and :func:`starter` help writing.

A leaf: knows only :mod:`turnout.errors`. A loaded configuration is whole: every name in it names something.
"""

from __future__ import annotations

from .channels import SCHEMES
from .core import core_spec
from .duration import Duration, PositiveDuration
from .duration import seconds as parse_duration
from .health import HealthCheckConfig
from .load import extend, load_dict, load_file, load_text
from .notices import ALWAYS_ON, NOT_YET, notices
from .references import DEAD_LETTER, DEFAULT_POOL
from .root import Member, RouterConfig
from .schema import json_schema
from .sections import (
    KEYED,
    POLICIES,
    STAGES,
    DeadLetterConfig,
    FailoverConfig,
    FailoverMode,
    LoadBalancingConfig,
    OptimizationConfig,
    PerformanceConfig,
    Policy,
    QualityConfig,
    RetryConfig,
    RoutingConfig,
    Stage,
)
from .sources import SOURCES, SourceOptions, read_source_options
from .starter import starter
from .state import StateConfig
from .topology import (
    CLEARANCES,
    Admin,
    Clearance,
    DestinationConfig,
    PoolConfig,
    PoolMember,
    Quorum,
    RuleConfig,
    UrgentConfig,
)

__all__ = [
    "ALWAYS_ON",
    "CLEARANCES",
    "DEAD_LETTER",
    "DEFAULT_POOL",
    "KEYED",
    "NOT_YET",
    "POLICIES",
    "SCHEMES",
    "SOURCES",
    "STAGES",
    "Admin",
    "Clearance",
    "DeadLetterConfig",
    "DestinationConfig",
    "Duration",
    "FailoverConfig",
    "FailoverMode",
    "HealthCheckConfig",
    "LoadBalancingConfig",
    "Member",
    "OptimizationConfig",
    "PerformanceConfig",
    "Policy",
    "PoolConfig",
    "PoolMember",
    "PositiveDuration",
    "QualityConfig",
    "Quorum",
    "RetryConfig",
    "RouterConfig",
    "RoutingConfig",
    "RuleConfig",
    "SourceOptions",
    "Stage",
    "StateConfig",
    "UrgentConfig",
    "core_spec",
    "extend",
    "json_schema",
    "load_dict",
    "load_file",
    "load_text",
    "notices",
    "parse_duration",
    "read_source_options",
    "starter",
]
