"""Workers of one machine that share state: real processes, killed for real."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from turnout import ConfigError, Router
from turnout.config import load_dict

if sys.platform != "linux":
    pytest.skip("state is shared on Linux only", allow_module_level=True)

# A worker does what it is told, a line at a time: `acquire`, `finish` (the oldest lease), `fail ID` (a lease of that
# destination), `state`, `reload CONFIG`, `fork`.
WORKER = """
import json, os, sys
from turnout import NoDestinationError, Router

router, leases = Router(json.loads(sys.argv[1]), seed=int(sys.argv[2])), []
def answer(value):
    print(json.dumps(value), flush=True)
answer("ready")
for line in sys.stdin:
    command, _, argument = line.strip().partition(" ")
    if command == "acquire":
        leases += [router.acquire({}) for _ in range(int(argument or 1))]
        answer([lease.destination for lease in leases])
    elif command == "finish":
        for _ in range(int(argument or 1)):
            leases.pop(0).success()
        answer(len(leases))
    elif command == "fail":
        while True:
            lease = router.acquire({})
            if lease.destination == argument:
                lease.failure("timeout")
                break
            lease.cancel()
        answer("failed")
    elif command == "state":
        answer({one.id: [one.in_flight, one.breaker] for one in router.stats().destinations.values()})
    elif command == "reload":
        answer(router.reload(json.loads(argument)))
    elif command == "fork":
        if (child := os.fork()) == 0:
            leases.append(router.acquire({}))
            sys.stdout.write(json.dumps(os.getpid()) + "\\n")
            sys.stdout.flush()
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
"""


class Worker:
    """A process with a router."""

    def __init__(self, config: dict[str, Any], seed: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(config), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def held(self) -> dict[str, int]:
        return {id: in_flight for id, (in_flight, _) in self.ask("state").items()}

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., list[Worker]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Worker] = []

    def workers(count: int, config: dict[str, Any]) -> list[Worker]:
        new = [Worker(config, seed) for seed in range(count)]
        started.extend(new)
        assert [worker.answer() for worker in new] == ["ready"] * count
        return new

    yield workers
    for worker in started:
        worker.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def config(path: str | None, count: int = 10, policy: str = "least_connections", **state: Any) -> dict[str, Any]:
    return {
        "load_balancing": {"algorithm": policy},
        "destinations": {f"d{number}": {} for number in range(count)},
        **({} if path is None else {"state": {"shared": path, **state}}),
    }


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within ten seconds, where one is what it should take."""
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_ten_processes_spread_leases_as_one_does(start: Start, path: str) -> None:
    workers = start(10, config(path))
    for turn in range(50):
        workers[turn * 7 % 10].ask("acquire")
    assert set(workers[3].held().values()) == {5}, "50 leases, 10 destinations"
    for worker in workers:
        worker.ask("finish 5")
    assert set(workers[0].held().values()) == {0}


def test_what_a_killed_process_held_is_given_back(start: Start, path: str) -> None:
    dead, alive = start(2, config(path))
    dead.ask("acquire 20")
    alive.ask("acquire 3")
    assert sum(alive.held().values()) == 23
    dead.kill()

    def reclaimed() -> bool:
        alive.ask("acquire")
        alive.ask("finish")
        return sum(alive.held().values()) == 3

    assert eventually(reclaimed)


def test_an_ejection_by_one_is_seen_by_all(start: Start, path: str) -> None:
    one, *others = start(4, config(path, 3, "round_robin"))
    for _ in range(5):
        one.ask("fail d1")
    for worker in others:
        assert worker.ask("state")["d1"][1] == "ejected"
        assert "d1" not in worker.ask("acquire 6")


def test_workers_of_different_configurations_share_what_both_have(start: Start, path: str) -> None:
    (old,) = start(1, config(path, 2))
    (new,) = start(1, config(path, 3))
    assert sorted(new.ask("acquire 3")) == ["d0", "d1", "d2"]
    assert old.held() == {"d0": 1, "d1": 1}
    at_once = {**config(path, 4), "failover": {"slow_start": 0}}
    assert old.ask("reload " + json.dumps(at_once)) == 2
    assert old.held() == {"d0": 1, "d1": 1, "d2": 1, "d3": 0}
    assert old.ask("acquire") == ["d3"]
    assert old.ask("reload " + json.dumps(config(path, 1))) == 3
    assert sum(new.held().values()) == 3


def test_a_forked_child_is_a_worker_of_its_own(start: Start, path: str) -> None:
    parent, other = start(2, config(path, 2))
    parent.ask("acquire 2")
    assert isinstance(parent.ask("fork"), int)  # the child held one more, and was killed

    def reclaimed() -> bool:
        other.ask("acquire")
        other.ask("finish")
        return sum(other.held().values()) == 2

    assert eventually(reclaimed)
    parent.ask("finish 2")
    assert sum(other.held().values()) == 0


def test_a_file_of_a_dead_run_is_begun_anew(start: Start, path: str) -> None:
    (dead,) = start(1, config(path, 3))
    dead.ask("acquire 9")
    for _ in range(5):
        dead.ask("fail d1")
    dead.kill()
    (new,) = start(1, config(path, 3))
    assert new.ask("state") == {f"d{number}": [0, "closed"] for number in range(3)}


def test_without_a_file_nothing_is_shared(start: Start) -> None:
    one, other = start(2, config(None, 2))
    one.ask("acquire 4")
    assert other.held() == {"d0": 0, "d1": 0}


def test_two_routers_of_a_process_are_two_workers(path: str) -> None:
    one, other = Router(config(path, 2)), Router(config(path, 2))
    with one.acquire({}):
        assert sum(state.in_flight for state in other.stats().destinations.values()) == 1
    assert sum(state.in_flight for state in other.stats().destinations.values()) == 0


def test_the_file_is_for_its_owner_alone(path: str) -> None:
    router = Router(config(path))
    assert Path(path).stat().st_mode & 0o777 == 0o600
    del router


def test_errors_name_the_file_and_the_remedy(path: str, tmp_path: Path) -> None:
    Path(path).write_text("no state at all")
    Path(path).chmod(0o600)
    with pytest.raises(ConfigError, match=r"state\.shared: .*/state is not a file of shared state; delete it"):
        Router(config(path))
    with pytest.raises(ConfigError, match=r"No such file.*give a path where"):
        Router(config(str(tmp_path / "missing" / "state")))
    with pytest.raises(ConfigError, match=r"no room for a further destination than 2.*larger state\.destinations"):
        Router(config(str(tmp_path / "small"), 3, destinations=2))


def test_a_reload_that_does_not_fit_changes_nothing(path: str) -> None:
    router = Router(config(path, 2, destinations=2))
    with pytest.raises(ConfigError, match="no room"):
        router.reload(config(path, 3, destinations=2))
    with pytest.raises(ConfigError, match=r"state\.shared: stays as it is"):
        router.reload(config(None, 2))
    assert (router.generation, len(router.stats().destinations)) == (1, 2)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"shared": "relative/path"}, "from the root"),
        ({"shared": "/run/turnout", "destinations": 0}, "must be at least 1"),
        ({"shard": "/run/turnout"}, "did you mean 'shared'"),
    ],
)
def test_wrong_settings_are_told(state: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_dict({"state": state})


def test_checking_a_configuration_makes_no_file(path: str, tmp_path: Path) -> None:
    written = tmp_path / "router.json"
    written.write_text(json.dumps({"message_router": config(path)}))
    subprocess.run([sys.executable, "-m", "turnout", "check", str(written)], check=True, capture_output=True)
    assert not Path(path).exists()
