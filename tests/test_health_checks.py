"""Health checks against real servers on loopback: what they find, and that they start, go on and stop."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from turnout import Router
from turnout.errors import ConfigError

FAST = {"interval": 0.02, "timeout": 0.5, "fall": 2, "rise": 2}


def config(**check: Any) -> dict[str, Any]:
    timing = {} if "heartbeat" in check else FAST
    return {"destinations": {"a": {"health_check": {**timing, **check}}, "b": {}}, "failover": {"slow_start": 0}}


def health(router: Router, destination: str = "a") -> str:
    return router.stats().destinations[destination].health


def problem(router: Router) -> str | None:
    return router.health_checks()["a"].problem


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for what must come about; the limit only ends a test that would hang."""
    try:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"never came about: {what}")


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def http_server(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def tcp_server(context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[int]:
    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", port, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context for localhost, and the file of the authority that signed it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return context, str(file)


@pytest.mark.parametrize(
    ("status", "body", "check", "found"),
    [
        (200, b"all is well", {}, None),
        (204, b"", {"method": "HEAD"}, None),
        (503, b"", {}, "status 503"),
        (302, b"", {}, "status 302"),
        (404, b"", {"status": [200, "400-404"]}, None),
        (200, b"all is well", {"body": "is well"}, None),
        (200, b"all is ill", {"body": "is well"}, "the expected text is not in the answer"),
        (200, b" " * 70_000 + b"is well", {"body": "is well"}, "the expected text is not in the answer"),
    ],
)
async def test_http_looks_at_status_and_body(
    status: int, body: bytes, check: dict[str, Any], found: str | None
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "/elsewhere"} if status == 302 else None)

    async with http_server(answer) as port:
        router = Router(config(http=f"http://127.0.0.1:{port}/healthz", **check))
        async with router:
            await until(lambda: router.health_checks()["a"].checks >= 3, "three checks")
            assert problem(router) == found
            assert health(router) == ("healthy" if found is None else "unhealthy")


async def test_a_destination_falls_and_rises_with_its_server() -> None:
    up = True

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if up else 500)

    async with http_server(answer) as port:
        router = Router(config(http=f"http://127.0.0.1:{port}/"), seed=1)
        async with router:
            await until(lambda: router.health_checks()["a"].checks >= 2, "checks")
            assert {router.route({}).destination for _ in range(4)} == {"a", "b"}
            up = False
            await until(lambda: health(router) == "unhealthy", "the fall")
            assert {router.route({}).destination for _ in range(4)} == {"b"}
            up = True
            await until(lambda: health(router) == "healthy", "the rise")
            assert {router.route({}).destination for _ in range(4)} == {"a", "b"}
        kinds = [event.kind for event in router.event_log() if event.destination == "a"]
        assert kinds.count("health") == 2


async def test_an_answer_that_never_ends_has_failed() -> None:
    released = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with http_server(answer) as port:
        router = Router(config(http=f"http://127.0.0.1:{port}/", timeout=0.05))
        async with router:
            await until(lambda: health(router) == "unhealthy", "the fall")
            assert problem(router) == "no answer within 0.05 s"
        released.set()


async def test_tcp_is_about_being_accepted() -> None:
    async with tcp_server() as port:
        router = Router(config(tcp=f"127.0.0.1:{port}"))
        await router.start()
        await until(lambda: router.health_checks()["a"].checks >= 3, "checks")
        assert health(router) == "healthy"
    await until(lambda: health(router) == "unhealthy", "the fall")
    assert problem(router) == "Connection refused"
    async with tcp_server(port=port):
        await until(lambda: health(router) == "healthy", "the rise")
    await router.close()


@pytest.mark.parametrize("kind", ["tls", "https"])
async def test_certificates_are_verified(kind: str, certificates: tuple[ssl.SSLContext, str]) -> None:
    context, ca_file = certificates

    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    server = tcp_server(context) if kind == "tls" else http_server(answer, context)
    async with server as port:
        where = {"tls": f"127.0.0.1:{port}"} if kind == "tls" else {"http": f"https://127.0.0.1:{port}/"}
        for trust, found in [
            ({"ca_file": ca_file, "server_name": "localhost"}, None),
            ({"server_name": "localhost"}, "certificate: unable to get local issuer certificate"),
            ({"ca_file": ca_file}, "certificate: IP address mismatch"),
        ]:
            router = Router(config(**where, **trust))
            async with router:
                await until(lambda: router.health_checks()["a"].checks >= 2, "checks")  # noqa: B023
                assert (problem(router) or "").startswith(found or "")
                assert (problem(router) is None) == (found is None)


@pytest.mark.parametrize(
    ("result", "found", "state"),
    [
        (None, None, "healthy"),
        (True, None, "healthy"),
        ("healthy", None, "healthy"),
        ("degraded", None, "degraded"),
        (False, "the check says so", "unhealthy"),
        ("unhealthy", "the check says so", "unhealthy"),
        (0, "the check returned int", "unhealthy"),
        (ValueError("no"), "ValueError: no", "unhealthy"),
        (SystemExit(), "raised SystemExit", "unhealthy"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_callable_says_how_it_is(result: object, found: str | None, state: str, is_async: bool) -> None:
    if is_async and isinstance(result, SystemExit):
        pytest.skip("SystemExit on the loop is the user's own exit")

    def say(destination: str) -> object:
        assert destination == "a"
        if isinstance(result, BaseException):
            raise result
        return result

    async def say_async(destination: str) -> object:
        return say(destination)

    router = Router(config(callable="f"))
    router.health_check("f", say_async if is_async else say)
    async with router:
        await until(lambda: router.health_checks()["a"].checks >= 3, "checks")
        assert health(router) == state
        assert (found is None) == (problem(router) is None)
        assert (found or "") in (problem(router) or "")


async def test_a_function_that_hangs_is_a_failed_check_and_is_not_called_again_meanwhile() -> None:
    released, calls = threading.Event(), 0

    def hang(destination: str) -> None:
        nonlocal calls
        calls += 1
        released.wait(30)

    router = Router(config(callable="f", timeout=0.02))
    router.health_check("f", hang)
    async with router:
        await until(lambda: router.health_checks()["a"].failed >= 4, "failures")
        assert (calls, health(router)) == (1, "unhealthy")
        released.set()
        await until(lambda: health(router) == "healthy", "the rise")


async def test_a_check_that_ignores_its_cancellation_neither_piles_up_nor_holds_up_the_close() -> None:
    calls, leave = 0, False

    async def deaf(destination: str) -> None:
        nonlocal calls
        calls += 1
        while not leave:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    router = Router(config(callable="f", timeout=0.02))
    router.health_check("f", deaf)
    async with router:
        await until(lambda: router.health_checks()["a"].failed >= 3, "failures")
        assert calls == 1
    leave = True
    await asyncio.sleep(0.05)


async def test_silence_makes_unhealthy_and_heartbeats_bring_back() -> None:
    router = Router(config(heartbeat=0.2, rise=2))
    async with router:
        assert health(router) == "healthy"
        await until(lambda: health(router) == "unhealthy", "the fall")
        assert problem(router) == "no heartbeat for 0.2 s"
        router.heartbeat("a")
        assert health(router) == "unhealthy"
        threads = [threading.Thread(target=router.heartbeat, args=("a",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert health(router) == "healthy"
        router.heartbeat("a", "degraded")
        assert health(router) == "degraded"
        router.heartbeat("a", "unhealthy")
        assert health(router) == "unhealthy"


def test_heartbeats_that_nobody_asked_for_are_an_error() -> None:
    router = Router(config(heartbeat=1.0))
    for destination, said, problem in [
        ("b", "healthy", "heartbeat: 10s"),
        ("x", "healthy", "'x'"),
        ("a", "ok", "'ok'"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            router.heartbeat(destination, said)  # type: ignore[arg-type]


async def test_checks_follow_a_reload() -> None:
    state = {"f": False, "g": True}
    calls = {"f": 0, "g": 0}

    def checker(name: str) -> Callable[[str], bool]:
        def check(destination: str) -> bool:
            calls[name] += 1
            return state[name]

        return check

    router = Router(config(callable="f"))
    router.health_check("f", checker("f"))
    router.health_check("g", checker("g"))
    async with router:
        await until(lambda: health(router) == "unhealthy", "the fall")
        checks = router.health_checks()["a"].checks
        router.reload({**config(callable="f"), "performance": {"timeout": "1s"}})
        assert router.health_checks()["a"].checks >= checks  # an unchanged check goes on
        await asyncio.to_thread(router.reload, config(callable="g"))
        await until(lambda: health(router) == "healthy", "the rise by the new check")
        asked = calls["f"]
        state["g"] = False
        await until(lambda: health(router) == "unhealthy", "the fall by the new check")
        assert calls["f"] <= asked + 1
        router.reload({"destinations": {"a": {}, "b": {}}})
        assert health(router) == "healthy"  # nobody would find it fit again
        assert router.health_checks() == {}


async def test_a_reload_to_a_check_that_cannot_be_made_changes_nothing() -> None:
    router = Router({"destinations": {"a": {}}})
    async with router:
        with pytest.raises(ConfigError, match=r"destinations\.a\.health_check: .*router\.health_check\('f', fn\)"):
            router.reload(config(callable="f"))
        assert router.generation == 1


@pytest.mark.parametrize(
    ("check", "problem"),
    [({"callable": "f"}, "there is no function 'f'"), ({"tls": "h:1", "ca_file": "/nowhere.pem"}, "cannot be used")],
)
async def test_a_check_that_cannot_be_made_is_an_error_of_the_start(check: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await Router(config(**check)).start()


def test_a_check_must_be_callable() -> None:
    with pytest.raises(ConfigError, match="not callable"):
        Router(config(callable="f")).health_check("f", 3)  # type: ignore[arg-type]


async def test_nothing_runs_after_the_close_and_the_router_can_start_again() -> None:
    calls = 0

    async def check(destination: str) -> None:
        nonlocal calls
        calls += 1

    router = Router(config(callable="f"))
    router.health_check("f", check)
    for _ in range(2):
        before = calls
        async with router:
            await until(lambda: calls > before, "a check")  # noqa: B023
        ended = calls
        await asyncio.sleep(0.1)
        assert calls == ended
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("turnout-health")] == []


async def test_without_health_checking_nobody_is_asked() -> None:
    router = Router({**config(callable="f"), "load_balancing": {"health_checking": False}})
    async with router:
        assert router.health_checks() == {}


async def test_checks_do_not_come_in_step() -> None:
    times: dict[str, list[float]] = {}

    async def note(destination: str) -> None:
        times.setdefault(destination, []).append(time.monotonic())

    check = {**FAST, "interval": 0.1, "callable": "f"}
    router = Router({"destinations": {f"d{n}": {"health_check": check} for n in range(20)}}, seed=5)
    router.health_check("f", note)
    async with router:
        await until(lambda: len(times) == 20 and all(len(found) >= 4 for found in times.values()), "four rounds")
    firsts = sorted(found[0] for found in times.values())
    assert firsts[-1] - firsts[0] > 0.05
    gaps = {round(b - a, 3) for found in times.values() for a, b in itertools.pairwise(found)}
    assert len(gaps) > 5
