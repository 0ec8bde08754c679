"""The Rust half of turnout: matching, pools, leases. One crossing of the language boundary per decision.

Everything here is safe to call from any number of threads at once, with or without a GIL. Times are in seconds,
as floats; ids are strings. Exceptions are those of :mod:`turnout.errors`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from .errors import MessageError, RuleError, TurnoutError

__all__ = [
    "Decision", "EventLog", "EventWatch", "Histogram", "Lease", "Plan", "Pool", "Router", "RuleSet", "__version__",
    "rule_errors", "simulate",
]  # fmt: skip

__version__: str

def rule_errors(rules: Iterable[Mapping[str, Any]]) -> list[RuleError]:
    """What is wrong with the rules of a router, all of it, in their order. Mappings as `RuleSet` takes them.

    Raises:
        ConfigError: a rule has unknown or missing keys.
    """

def simulate(
    pool: Mapping[str, Any],
    scenario: Mapping[str, Any],
    *,
    failover: Mapping[str, Any] | None = None,
    admin: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs a pool through a scenario in simulated time, without the GIL; `turnout.simulation` has both as models.

    - ``pool``: ``id``, ``policy`` and ``destinations``, as a router's configuration compiles to; ``failover`` as in
      :class:`Pool`; ``admin``: state by id of those that are draining or disabled. ``bounded_load`` counts for policies
      by key alone: others run without.
    - ``scenario``: every key of `turnout.simulation.Scenario` with times in seconds, but that ``arrivals`` is
      ``{"kind", ...}``, ``keys`` is ``{"count", "exponent"}`` or None, and ``servers`` has one mapping for each
      destination, with its ``troubles``.

    Returns what `turnout.simulation.PolicyOutcome` is made of. Signals are heeded: Ctrl-C raises KeyboardInterrupt.

    Raises:
        ConfigError: the pool or the scenario is not valid; says where and what to write.
    """

@final
class Decision:
    """Where a message goes, and why. Immutable."""

    @property
    def rule(self) -> str | None:
        """Id of the rule that matched (content_based and custom_rules); None for the other stages and the default."""
    @property
    def stage(self) -> str:
        """The rule family that decided: content_based, priority_based, destination_based, custom_rules or default."""
    @property
    def pool(self) -> str | None:
        """Id of the pool; None where the message goes to dead letters."""
    @property
    def destination(self) -> str | None:
        """Id of the destination; None where the message goes to dead letters."""
    @property
    def tier(self) -> int:
        """Tier of the destination: 0 is primary, 1 and up are backups."""
    @property
    def reason(self) -> str:
        """Why this destination: the policy's name, no_key (the policy goes by key and the message has none),
        operator (another was failed over to it), only_choice, spilled, degraded, panic, probe, pinned or dead_letter.
        """
    @property
    def propensity(self) -> float | None:
        """The probability, 0..1, with which the destination was drawn among those that could be: enabled, fit, with
        room, cleared, not excluded; each counts by its weight, and by its ramp after a recovery.

        Known for ``adaptive``, and for ``random`` and ``weighted_random`` where no cap, ramp or exclusion plays a part.
        None for policies that do not draw by weight alone, for trials, and where tiers share the load.
        """
    @property
    def panic(self) -> bool:
        """Whether health was ignored because too few destinations are healthy."""
    @property
    def generation(self) -> int:
        """Number of the configuration that decided, from 1."""
    @property
    def quality(self) -> float:
        """Observed success rate of the destination, 0..1; 1.0 before any outcome."""
    @property
    def mode(self) -> Literal["first", "all"]:
        """Whether the route names alternatives (first) or sends to every pool (all)."""
    @property
    def branches(self) -> tuple[Decision, ...]:
        """Mode `all`: one decision a pool, this one first. Mode `first`: empty."""
    def as_dict(self) -> dict[str, Any]:
        """The decision as plain values, for JSON."""

@final
class Lease:
    """A destination held for one message in flight. It ends exactly once.

    Ending it again changes nothing and returns False. Dropped unended it counts as cancelled. As a context manager
    (sync or async) its outcome comes from the block: success, failure on an exception, cancelled on
    `asyncio.CancelledError`, `GeneratorExit` or `KeyboardInterrupt`.
    """

    @property
    def destination(self) -> str:
        """Id of the destination held."""
    @property
    def pool(self) -> str:
        """Id of the pool it was taken from."""
    @property
    def attempt(self) -> int:
        """Which attempt at the message this is, from 1."""
    @property
    def generation(self) -> int:
        """Number of the configuration that decided."""
    @property
    def is_probe(self) -> bool:
        """Whether this is the trial of a destination on probation."""
    @property
    def reason(self) -> str:
        """As `Decision.reason`."""
    @property
    def propensity(self) -> float | None:
        """As `Decision.propensity`."""
    @property
    def ended(self) -> bool:
        """Whether an outcome was given."""
    @property
    def decision(self) -> Decision | None:
        """The decision behind the lease; None for a lease of a bare `Pool`."""
    def success(self, utilisation: float | None = None) -> bool:
        """Ends the lease: delivered. The time since it began enters the destination's latency.

        ``utilisation``: what the destination says of its load, as by ORCA: 1 is all it can do, more is too much. Its
        mean of late is in `Router.stats()`, and decides where weights are adjusted.

        Raises:
            ConfigError: ``utilisation`` is negative or not finite; the lease is still held then.
        """
    def failure(self, kind: str = "error") -> bool:
        """Ends the lease: not delivered, by the destination's fault. `kind` is counted by name (64 names at most)."""
    def overloaded(self, retry_after: float | None = None) -> bool:
        """Ends the lease: the destination asks for a pause, of `retry_after` seconds if it said so."""
    def cancel(self) -> bool:
        """Ends the lease without credit or blame."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]: ...

@final
class Plan:
    """The route of one message, fixed to one generation; destinations are taken from it one attempt at a time."""

    @property
    def rule(self) -> str | None:
        """As `Decision.rule`."""
    @property
    def stage(self) -> str:
        """As `Decision.stage`."""
    @property
    def pools(self) -> tuple[str, ...]:
        """Pools in order of preference (first), or all that receive the message (all). Empty: dead letter."""
    @property
    def mode(self) -> Literal["first", "all"]:
        """As `Decision.mode`."""
    @property
    def quorum(self) -> int:
        """How many pools must deliver for the message to count as delivered: all, 1 (any), or n."""
    @property
    def generation(self) -> int:
        """Number of the configuration that decided."""
    @property
    def resume(self) -> int | None:
        """Set where the stage custom_rules was reached: the stage to go on from if no custom rule yields a route."""
    def select(self, *, branch: int | None = None, exclude: Sequence[str] = ()) -> Decision:
        """Picks a destination without holding it; arguments and errors as of :meth:`acquire`."""
    def acquire(self, *, branch: int | None = None, exclude: Sequence[str] = (), attempt: int = 1) -> Lease:
        """Holds a destination: of pool number `branch`, or of the first pool that has one.

        `exclude` names destinations not to use (those already tried).

        Raises:
            NoDestinationError: none may receive the message now; `retry_at` says when one might.
        """

@final
class RuleSet:
    """Rules without routes: the matcher alone. Reads never wait for changes, and never see half of one."""

    def __new__(cls, rules: Iterable[Mapping[str, Any]] | None = None) -> Self:
        """Compiles rules: mappings of ``id``, ``priority`` (int, default 0), ``when`` (CEL) and ``match`` (a pattern).

        Raises:
            RuleError: a rule cannot be compiled; the errors of further rules are in its ``others``.
            ConfigError: a rule has unknown or missing keys.
        """
    def first(self, message: Any) -> str | None:
        """Id of the rule that matches: of the highest priority, of those the one added first; None if none does.

        ``message`` is a mapping, a dataclass, a pydantic model, or JSON as bytes. Only fields that rules name are read.

        Raises:
            MessageError: not a message, or a field that a rule needs holds no value rules can read.
        """
    def all(self, message: Any) -> list[str]:
        """Ids of all rules that match, best first. Raises as :meth:`first`."""
    def first_json(self, raw: bytes, *, strict: bool = False) -> str | None:
        """As :meth:`first`, for JSON bytes; no Python objects are built from them.

        The whole text is checked, also behind the last field that a rule names: UTF-8, the grammar of RFC 8259 (no
        ``NaN``), nesting of at most 128 levels, nothing behind the object. Of a key that comes twice the last counts,
        with all below it. A field that a rule needs is an error if it is an integer beyond 64 bits, a number beyond a
        double's range or text with half of a surrogate pair; in other fields these do not matter.

        With ``strict`` a key that comes twice in one object and half of a surrogate pair are errors wherever they
        stand, as I-JSON (RFC 7493) has it; numbers are not affected. It costs up to four times the check.

        Raises:
            MessageError: as :meth:`first`; of what is no JSON it names line, column and byte.
        """
    def all_json(self, raw: bytes, *, strict: bool = False) -> list[str]:
        """As :meth:`all`, for JSON bytes, checked as by :meth:`first_json`."""
    def first_many(
        self, messages: Iterable[Any], *, strict: bool = False, threads: int | None = None
    ) -> list[str | MessageError | None]:
        """As :meth:`first` for each message, in order; where one cannot be read stands its MessageError.

        All answers are of the rules there were at the call. If all messages are ``bytes``, they are matched without
        the GIL on up to ``threads`` threads (None: all cores); Python objects are read one by one, with the GIL.
        ``strict`` is about ``bytes``, and means what it means for :meth:`first_json`; the same for the other batches.

        Raises:
            ConfigError: ``threads`` is 0.
            RuntimeError: matching panicked, a bug in turnout; the same for the other batches.
        """
    def first_ndjson(
        self, raw: bytes, *, strict: bool = False, threads: int | None = None
    ) -> list[str | MessageError | None]:
        """As :meth:`first_many`, for newline-delimited JSON: one message a line, ended by LF or CR LF.

        Blank lines (nothing but spaces, tabs, CR) are no messages and have no answer: answer ``k`` is that of the
        ``k``-th line that is not blank. An error of JSON names its line in ``raw``, from 1, blank ones counted.
        """
    def first_arrays(self, columns: Mapping[str, Any], *, threads: int | None = None) -> NDArray[np.int32]:
        """The first rule that matches each row of columns: its position in :attr:`ids` at the call, -1 for none.

        - ``columns``: one-dimensional numpy arrays (bool, int, uint, float up to 64 bits, text, objects) or lists, of
          one length, by dotted path below ``message``: ``"order.total"``. A column that is not there is a field that
          is missing in every row; what a masked array masks, and None, is null. NaN is a number.
        - ``threads``: as for :meth:`first_many`. Matching needs no GIL; reading text and objects does.

        Columns that no rule names are not read. Needs numpy: ``pip install 'turnout[arrays]'``.

        Raises:
            MessageError: a column has another length, more dimensions, a dtype or a value that rules cannot read, or
                a name that is no path; or a row cannot be decided. It names the column and the row.
            ImportError: numpy is not installed.
        """
    def add(self, rule: Mapping[str, Any]) -> None:
        """Adds a rule, behind those of equal priority. Raises as the constructor; the set is untouched then."""
    def remove(self, id: str) -> bool:
        """Removes a rule; whether there was one of that id."""
    def explain(self, message: Any, *, rules: Iterable[str] | Literal["all"] | None = None) -> dict[str, Any]:
        """What the matcher does with a message: ``winner``; ``looked_at``, the conditions asked until it was known;
        ``total``, the rules there are; and ``rules``, the candidates, best first. Each has ``rule``, ``matched``,
        ``found_by`` (in words: the witness that the message has, ``always tried``, or ``scanned (...)``) and, if it
        does not match, the first ``predicate`` that failed, its ``field``, what was ``asked``, what was ``seen``, and
        a ``note`` or None.

        - ``rules``: ids of rules to explain besides, or ``"all"``; of one that is no candidate, ``found_by`` is None.
          Without it the cost is that of :meth:`all`, times a constant.

        Raises:
            ConfigError: there is no rule of an id in ``rules``.
            MessageError: not a message.
        """
    @property
    def ids(self) -> list[str]:
        """Ids of the rules, in the order in which they are tried."""
    @property
    def unindexed(self) -> list[str]:
        """Ids of rules that no index can find, so that each message is tried against them: negations, ``exists``,
        expressions over several fields, regular expressions without a literal. In the order in which they are tried.
        """
    def __len__(self) -> int: ...
    def __contains__(self, id: str, /) -> bool: ...

@final
class Pool:
    """Destinations under one balancing policy: the balancer alone."""

    def __new__(
        cls,
        destinations: Iterable[str | Mapping[str, Any]],
        *,
        policy: str = "round_robin",
        bounded_load: float | None = None,
        dynamic_adjustment: bool = False,
        failover: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Self:
        """Builds a pool.

        - ``destinations``: ids, or mappings of ``id``, ``weight`` (0-1,000,000, default 1), ``tier`` (0 is primary),
          ``max_in_flight`` (default no cap), ``rate_limit`` (``rate`` messages a second, ``burst`` at once; default no
          limit) and ``clearance`` (public, internal, confidential, restricted).
        - ``policy``: round_robin, weighted_round_robin, random, weighted_random, least_connections,
          weighted_least_connections, response_time, prequal, health_based, maglev, rendezvous, adaptive,
          or auto: chosen by the pool's shape and what is observed (by key where ``bounded_load`` is given).
        - ``bounded_load``: for maglev, rendezvous and auto, how many times its share a destination may hold (1 to 100,
          such as 1.25) of the leases that the pool holds in its tier; None for no bound.
        - ``dynamic_adjustment``: whether weights follow latency, errors and utilisation, where the policy goes by
          weights and not by key.
        - ``failover``: ``eject`` and ``spill`` (bool), ``streak`` (failures in a row), ``recovery_time`` and
          ``max_ejection_time`` and ``slow_start`` (seconds), ``max_ejected_percent`` and ``panic_threshold`` (percent),
          ``probation_successes``; ``failure_percent`` of at least ``min_requests`` outcomes in ``rate_window``
          (seconds); ``outlier_stdev`` (standard deviations) of at least ``outlier_min_requests``; ``on_exhausted``
          (panic, wait, raise).
        - ``seed``: makes random choices repeat, on one thread.

        Raises:
            ConfigError: unknown keys or values, a duplicate id, or no destination at all.
        """
    @property
    def policy(self) -> str:
        """The policy in force; under auto it may change from pick to pick."""
    def select(
        self,
        *,
        key: str | bytes | int | None = None,
        exclude: Sequence[str] = (),
        classification: str | None = None,
    ) -> str:
        """Id of the destination for one message, which is not held. What time alone changes, such as the end of an
        ejection, shows some ms later (up to 10) than to :meth:`acquire`; what somebody changes shows at once.

        ``key``: what maglev and rendezvous go by; its hash is XXH64 (seed 0) of the UTF-8 of text, of the bytes, or of
        an integer's decimal digits, the same in every process and version. Without a key they draw by weight.

        Raises:
            NoDestinationError: none may receive it now.
            TypeError: ``key`` is of another type.
        """
    def acquire(
        self,
        *,
        key: str | bytes | int | None = None,
        exclude: Sequence[str] = (),
        classification: str | None = None,
    ) -> Lease:
        """Holds a destination for one message. Raises as :meth:`select`."""
    def drain(self, id: str) -> None:
        """Gives the destination nothing new; what it holds finishes. Raises ConfigError for an unknown id."""
    def enable(self, id: str) -> None:
        """Puts a drained or disabled destination back into use."""
    def disable(self, id: str) -> None:
        """Takes the destination out of use, in panic too."""
    def set_health(self, id: str, health: str) -> None:
        """Sets what checks found: healthy, degraded (serves after the healthy ones) or unhealthy (does not serve)."""
    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Replaces the weights of these destinations, all at once; others keep theirs. No pick waits.

        Weights are relative: any numbers from 0 to 10^12. Those of up to six decimals count exactly, others to 2^-20 of
        the greatest. 0: nothing new, unless all are 0 (then all are equal).

        Raises:
            ConfigError: an unknown id, or a weight out of range; nothing has changed then.
        """
    def add(self, destination: str | Mapping[str, Any]) -> None:
        """Adds a destination, an id or a mapping as for the constructor, behind the others. No pick waits.

        Live state, turns of a rotation and held leases of the others stay; one that comes back while leases of its are
        held finds them counted. O(destinations), below 1 ms at 10,000; ``maglev`` builds its table anew, which takes
        some 0.2 s then.

        Raises:
            ConfigError: it is there already, or is not valid; nothing has changed then.
        """
    def remove(self, id: str) -> bool:
        """Takes a destination away; whether there was one of that id. No pick waits; none that begins after this gives
        the destination. Leases held on it end as others, and eject nobody. Without its last destination the pool is
        empty, and picks raise NoDestinationError. Cost as of :meth:`add`.
        """
    def destinations(self) -> list[dict[str, Any]]:
        """State and counts of each destination, as ``Router.stats().destinations`` has them."""
    def __len__(self) -> int: ...

@final
class Histogram:
    """Latencies in buckets of bounded relative error (about 3 %), from 1 microsecond to 1 hour; for many threads."""

    def __new__(cls) -> Self:
        """An empty histogram."""
    def record(self, latency: float) -> None:
        """Counts a latency in seconds; negative counts as 0."""
    def quantile(self, q: float) -> float | None:
        """The latency in seconds that the share ``q`` (0..1) stays within; None before the first."""
    @property
    def count(self) -> int:
        """Latencies recorded."""

@final
class EventLog:
    """What happened to a router's destinations: the last 1,024 events, numbered from 1 without gaps."""

    @property
    def last(self) -> int:
        """Number of the last event; 0 before the first."""
    def since(self, seq: int) -> list[dict[str, Any]]:
        """Events with a number above ``seq`` that are kept; `turnout.reports.Event` has the keys."""
    def next(self, seq: int, size: int) -> tuple[dict[str, Any], int] | None:
        """The first event above ``seq`` for an observer that may be ``size`` behind, and how many it missed so."""
    def watch(self, wake: Callable[[], object]) -> EventWatch:
        """Starts a thread that calls ``wake``; it ends with the last reference to the watch."""

@final
class EventWatch:
    """Somebody who waits for events."""

    def ask(self, seq: int) -> None:
        """Asks for one wake, as soon as there is an event above ``seq``."""

@disjoint_base
class Router:
    """Decisions of a router; :class:`turnout.Router` extends it. Names with an underscore are for it alone."""

    def __new__(cls, spec: Mapping[str, Any], seed: int | None = None) -> Self:
        """Builds the first generation from what `turnout.config.core.core_spec` makes of a configuration.

        Raises:
            RuleError: a rule cannot be compiled; the errors of further rules are in its ``others``.
            ConfigError: anything else that is wrong.
        """
    def route(self, message: Any) -> Decision:
        """Decides where a message goes, without holding the destination.

        ``message`` is a mapping, a dataclass, a pydantic model, or JSON as bytes. Only fields that rules name are read.

        Raises:
            MessageError: not a message, or a field that is needed holds no value rules can read.
            NoRouteError: no stage gave a route, and there is no default.
            NoDestinationError: no destination of the route may receive the message now.
            TurnoutError: an async custom rule was reached.
        """
    def route_json(self, raw: bytes, *, strict: bool = False) -> Decision:
        """As :meth:`route`, for JSON bytes, checked as by :meth:`RuleSet.first_json`; no Python objects are built."""
    def route_many(
        self, messages: Iterable[Any], *, strict: bool = False, threads: int | None = None
    ) -> list[Decision | TurnoutError]:
        """As :meth:`route` for each message, in order; what :meth:`route` would raise stands in the message's place.

        If all messages are ``bytes``, they are matched without the GIL on up to ``threads`` threads (None: all
        cores), on one configuration and the live facts at the call; then destinations are picked, and custom rules
        asked, in order on the calling thread, as a loop of :meth:`route` would. Python objects are routed one by one.
        ``strict`` is about ``bytes``, as for :meth:`route_json`.

        Raises:
            ConfigError: ``threads`` is 0.
        """
    def route_ndjson(
        self, raw: bytes, *, strict: bool = False, threads: int | None = None
    ) -> list[Decision | TurnoutError]:
        """As :meth:`route_many`, for newline-delimited JSON, whose lines are those of :meth:`RuleSet.first_ndjson`."""
    def acquire(self, message: Any) -> Lease:
        """Decides, and holds the destination. Raises as :meth:`route`; TurnoutError for a route of mode ``all``."""
    def acquire_all(self, message: Any) -> list[Lease]:
        """Decides, and holds a destination of every pool of the route: of mode ``all``, or the one of mode ``first``.

        Raises:
            NoDestinationError: a pool has none; none is held then.
        """
    @property
    def generation(self) -> int:
        """Number of the live configuration, from 1."""
    def set_weights(self, pool: str, weights: Mapping[str, float]) -> None:
        """As `Pool.set_weights`, for a pool of the router.

        A weight that was set survives a reload, unless the reload changes that weight in the configuration.

        Raises:
            ConfigError: an unknown pool or id, or a weight out of range; nothing has changed then.
        """
    def _rejoin(self) -> None:
        """After a fork, in the child: makes it a worker of its own of the state it shares; nothing if it shares none.

        Raises:
            TurnoutError: it cannot be one, and goes on as if it were its parent.
        """
    def _plan(self, message: Any, start: int = 0) -> Plan:
        """The route of a message, from stage number ``start`` on. Raises as :meth:`route`, but for destinations."""
    def _plan_to(self, message: Any, target: str, rule: str) -> Plan:
        """The route that custom rule ``rule`` gave: a pool's or destination's id."""
    def _peek(self, pool: str, exclude: Sequence[str]) -> Decision:
        """Who of a pool would be next for a message without content. For reports: nothing is counted, no turn taken.

        Raises NoDestinationError, and ConfigError for an unknown pool.
        """
    def _stage(self, message: Any, start: int = 0) -> str | int | None:
        """The stage that decides; where custom rules are asked first, the number of the next; None for no route."""
    def _explain(self, message: Any, rules: Iterable[str] | Literal["all"] | None = None) -> dict[str, Any]:
        """As `RuleSet.explain`, live facts included."""
    def _reload(self, spec: Mapping[str, Any]) -> int:
        """Compiles another configuration without the GIL and swaps it in whole; its generation.

        Live state of destinations is kept by id. Raises as the constructor; the old one stays live then.
        """
    def _set_admin(self, id: str, state: str) -> None:
        """Sets what the operator wants: enabled, draining or disabled. ConfigError for an unknown id or state."""
    def _set_health(self, id: str, health: str) -> None:
        """Sets what checks found: healthy, degraded or unhealthy. ConfigError for an unknown id or state."""
    def _fail_over(self, name: str, to: str | None = None, hold: float | None = None) -> list[str]:
        """As `turnout.Router.fail_over`; ``hold`` in seconds."""
    def _fail_back(self, name: str, ramp: bool) -> list[str]:
        """As `turnout.Router.fail_back`."""
    def _report_utilisation(self, id: str, utilisation: float) -> None:
        """What a destination says of its load. ConfigError for an unknown id, and a load as `Lease.success` refuses."""
    def _destinations(self) -> list[dict[str, Any]]:
        """State and counts of each destination; `turnout.reports.DestinationStats` has the keys."""
    def _pools(self) -> list[dict[str, Any]]:
        """Members and health of each pool; `turnout.reports.PoolStats` has the keys."""
    def _event_log(self) -> EventLog:
        """What happened to the destinations of this router, of all its generations."""
    def _stats(self) -> dict[str, Any]:
        """``generation``, ``decisions``, ``no_route``, ``by_rule`` (counts by id), ``decision_p50`` and
        ``decision_p99`` in seconds, of one decision in 32; None before the first; ``cache``:
        `turnout.reports.CacheStats` has the keys.
        """
