"""Scenarios: how many messages come, how long destinations work on them, and what goes wrong when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from ..config.duration import Duration, PositiveDuration
from ..config.model import Count, Finding, Model, ModelError, Name, Number, Switch
from ..config.names import suggestion
from ..config.problems import from_validation, placed
from ..config.source import MAX_BYTES, KeyPath, Source
from ..config.yaml_source import read_yaml
from ..errors import ConfigError, Problem

UNLIMITED = "unlimited"
Concurrency = Annotated[int, Field(strict=True, ge=1, le=100_000)] | Literal["unlimited"]


class ServiceConfig(Model):
    """How long a destination works on a message, waiting in its line left out."""

    mean: PositiveDuration = Field(default=0.01, description="On average.")
    distribution: Literal["constant", "uniform", "exponential", "lognormal", "pareto", "bimodal"] = Field(
        default="exponential", description="How it varies. uniform: between 0 and twice the mean."
    )
    sigma: Number = Field(default=1.0, gt=0, le=10, description="lognormal: standard deviation of the logarithm.")
    alpha: Number = Field(default=2.0, gt=1, description="pareto: P(longer than x) falls like x^-alpha.")
    slow_share: Number = Field(default=0.05, ge=0, le=1, description="bimodal: share of messages that take longer.")
    slow_factor: Number = Field(default=20.0, ge=1, description="bimodal: how many times as long they take.")


class ServerConfig(Model):
    """What one destination has of its own."""

    service: ServiceConfig | None = Field(default=None, description="Default: the scenario's.")
    concurrency: Concurrency | None = Field(default=None, description="Default: the scenario's.")


class TroubleConfig(Model):
    """Something wrong with a destination, for a time or again and again."""

    kind: Literal["slow", "failing", "fast-failing", "dead", "overloaded"] = Field(
        description="slow: work takes `factor` times as long. failing: a `share` of messages fails after the work. "
        "fast-failing: a share fails at once. dead: no answer until the time-out. overloaded: with more than `queue` "
        "messages in line it asks for a pause of `retry_after`."
    )
    destination: Name | None = Field(default=None, description="Default: the first of the pool's lowest tier.")
    after: Duration = Field(default=0.0, description="Since when.")
    until: Duration | None = Field(default=None, description="Until when. Default: to the end.")
    every: PositiveDuration | None = Field(default=None, description="With `lasting`: repeats, flapping.")
    lasting: PositiveDuration | None = Field(default=None, description="How long each repetition lasts.")
    factor: Number = Field(default=10.0, gt=0, description="slow: how many times as long.")
    share: Number = Field(default=1.0, ge=0, le=1, description="failing, fast-failing: share of messages.")
    queue: Count = Field(default=20, ge=0, le=1_000_000, description="overloaded: messages in line.")
    retry_after: Duration | None = Field(default=None, description="overloaded: the pause asked for, if one is named.")

    @model_validator(mode="after")
    def _ordered(self) -> TroubleConfig:
        if self.until is not None and self.until <= self.after:
            raise ModelError([Finding(("until",), "must be later than `after`")])
        if (self.every is None) != (self.lasting is None):
            given = "every" if self.lasting is None else "lasting"
            raise ModelError([Finding((given,), "`every` and `lasting` go together; give both or neither")])
        if self.every is not None and self.lasting is not None and self.lasting >= self.every:
            raise ModelError([Finding(("lasting",), "must be shorter than `every`")])
        return self


class BurstsConfig(Model):
    """Times of more messages, again and again."""

    every: PositiveDuration = Field(default=10.0, description="From the start of one burst to that of the next.")
    lasting: PositiveDuration = Field(default=1.0, description="How long a burst lasts.")
    factor: Number = Field(default=3.0, gt=0, description="How many times as many messages come in it.")

    @model_validator(mode="after")
    def _ordered(self) -> BurstsConfig:
        if self.lasting >= self.every:
            raise ModelError([Finding(("lasting",), "must be shorter than `every`")])
        return self


class KeysConfig(Model):
    """The keys of messages, which policies by key go by."""

    count: Count = Field(default=1_000, ge=1, le=1_000_000, description="How many there are.")
    distribution: Literal["uniform", "zipf"] = Field(
        default="uniform",
        description="uniform: all equally frequent. zipf: the k-th most frequent in proportion to k^-exponent.",
    )
    exponent: Number = Field(default=1.0, gt=0, le=10, description="zipf: the greater, the more the first keys have.")


class Scenario(Model):
    """Load on a pool, the servers behind its destinations, and their troubles."""

    load: Number = Field(
        default=0.5, gt=0, description="Messages that come, as a share of what the primary destinations can serve."
    )
    rate: Number | None = Field(default=None, gt=0, le=1e9, description="Messages a second, instead of `load`.")
    arrivals: Literal["poisson", "constant"] = Field(
        default="poisson", description="poisson: at random. constant: at equal distances."
    )
    bursts: BurstsConfig | None = Field(default=None, description="Times of more messages.")
    clients: Count | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Instead of `load`: a closed loop of clients, each of which sends its next message once its last "
        "is settled.",
    )
    service: ServiceConfig = Field(default=ServiceConfig(), description="How long destinations work on a message.")
    concurrency: Concurrency = Field(
        default=1, description="Messages a destination works on at once; others wait in its line. Or: unlimited."
    )
    destinations: dict[Name, ServerConfig] = Field(
        default={}, description="What single destinations have of their own."
    )
    troubles: tuple[TroubleConfig, ...] = Field(default=(), description="What goes wrong.")
    duration: PositiveDuration = Field(default=120.0, description="How long messages come.")
    warmup: Duration = Field(default=0.0, description="Messages that come before this are not counted.")
    routers: Count = Field(default=1, ge=1, le=10_000, description="Routers; a message comes to any of them at random.")
    shared: Switch = Field(
        default=False, description="Whether the routers share what processes with state.shared do; at most 64."
    )
    timeout: PositiveDuration | None = Field(
        default=None,
        description="How long an answer is waited for. Default: retries.attempt_timeout, or performance.timeout.",
    )
    attempts: Count = Field(
        default=1,
        ge=1,
        le=1_000,
        description="Attempts for a message, each on another destination. There is no budget of retries here.",
    )
    backoff: Duration = Field(default=0.0, description="Longest wait before the second attempt; doubles each time.")
    keys: KeysConfig = Field(default=KeysConfig(), description="The keys of messages, for policies by key.")
    points: Count = Field(default=60, ge=1, le=1_000, description="Points of the series over time.")
    seed: Count = Field(default=1, ge=0, le=2**63 - 1, description="Everything random follows from it.")

    _source: Source | None = PrivateAttr(None)
    _name: str = PrivateAttr("scenario")

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        given = [name for name in ("load", "rate", "clients") if name in self.model_fields_set and getattr(self, name)]
        if len(given) > 1:
            message = f"{' and '.join(given)} exclude each other; give one of them"
            raise ModelError([Finding((given[-1],), message)])
        if self.bursts is not None and (self.clients is not None or self.arrivals == "constant"):
            raise ModelError([Finding(("bursts",), "bursts go with arrivals: poisson, and not with clients")])
        if self.warmup >= self.duration:
            raise ModelError([Finding(("warmup",), "must be shorter than duration")])
        return self

    @property
    def name(self) -> str:
        """The preset, or the file it was read from."""
        return self._name

    def server_of(self, destination: str) -> tuple[ServiceConfig, int | Literal["unlimited"]]:
        """Service and concurrency of a destination, with every default filled in."""
        own = self.destinations.get(destination, _NOTHING)
        return own.service or self.service, own.concurrency or self.concurrency

    def changed(self, **values: Any) -> Scenario:
        """A copy in which these keys have these values; a ``rate`` replaces load and clients.

        Raises:
            ConfigError: they do not fit the others.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set} | values
        if "rate" in values:
            given = {name: value for name, value in given.items() if name not in ("load", "clients")}
        made = _validated(given, None)
        made._source, made._name = self._source, self._name
        return made

    def problems(self, path: KeyPath, message: str) -> list[Problem]:
        """One problem at ``path``, with its file, line and column where it was read from a file."""
        if self._source is None or not self._source.has(path):
            return [Problem(path, message)]
        return [self._source.problem(path, message)]


_NOTHING = ServerConfig()

PRESETS: Mapping[str, str] = {
    "steady": "nothing goes wrong",
    "slow": "the first destination takes ten times as long, from 20 % to 70 % of the time",
    "failing": "half of what it gets fails, from 20 % to 70 %",
    "fast-failing": "all that it gets fails at once, from 20 % to 70 %",
    "flapping": "it is dead for half of each tenth of the time, from 20 % to 70 %",
    "recovering": "it is dead from 20 % to 50 %, then well",
}
"""Names of the presets, and what happens to the pool's first destination in each."""


def preset(name: str, *, duration: float = 120.0) -> Scenario:
    """A scenario by its name in :data:`PRESETS`; ``duration`` in seconds scales its troubles.

    Raises:
        ConfigError: there is none of that name.
    """
    part = duration / 10
    between = {"after": 2 * part, "until": 7 * part}
    troubles: Mapping[str, list[dict[str, Any]]] = {
        "steady": [],
        "slow": [{"kind": "slow", **between}],
        "failing": [{"kind": "failing", "share": 0.5, **between}],
        "fast-failing": [{"kind": "fast-failing", **between}],
        "flapping": [{"kind": "dead", "every": part, "lasting": part / 2, **between}],
        "recovering": [{"kind": "dead", "after": 2 * part, "until": 5 * part}],
    }
    if name not in troubles:
        raise ConfigError(f"no scenario {name!r}{suggestion(name, PRESETS, 'presets')}; or give a .yaml file")
    made = _validated({"troubles": troubles[name], "duration": duration}, None)
    made._name = name
    return made


def load_scenario(path: str | Path) -> Scenario:
    """Reads a scenario from a YAML (or JSON) file of at most 4 MiB.

    Raises:
        ConfigError: it cannot be read, or is not valid; lists every problem with line and column.
    """
    name = str(path)
    data = b""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        problem = f"longer than {MAX_BYTES // 2**20} MiB" if len(data) > MAX_BYTES else ""
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        problem = "not UTF-8; save the file as UTF-8"
    except FileNotFoundError:
        problem = f"no such file; presets are: {', '.join(PRESETS)}"
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if not problem and not text.strip():
        problem = "empty; a scenario has at least one key, such as: load: 0.8"
    if problem:
        raise ConfigError([Problem((), problem, name)])
    source = read_yaml(text, name)
    if not source.sound:
        raise ConfigError(placed([], source))
    given = {} if source.root.data is None else source.root.data
    if not isinstance(given, dict):
        raise ConfigError([source.problem((), "expected a mapping, such as: {load: 0.8, troubles: [{kind: slow}]}")])
    made = _validated(given, source)
    made._source, made._name = source, Path(path).name
    return made


def _validated(data: Mapping[str, Any], source: Source | None) -> Scenario:
    found: list[tuple[KeyPath, str, bool]] = []
    try:
        made = Scenario.model_validate(dict(data))
    except ValidationError as error:
        found = from_validation(error, data, (), model=Scenario)
    else:
        if source is None or not source.problems:
            return made
    raise ConfigError(placed(found, source))
