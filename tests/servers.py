"""Real servers for the tests of transports: processes of their own on free ports of the loopback address.

Each can be killed, paused and started again with its data. A test is skipped, by name, where the program is missing;
`make test-services` installs them all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
_PATIENCE = 60.0


def program(name: str) -> str:
    """The path of a server's program; skips the test where there is none, or fails it where all must be there."""
    found = shutil.which(name, path=_SBIN)
    if found is None:
        reason = f"{name} is not installed (make test-services)"
        if os.environ.get("TURNOUT_ALL_SERVICES"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Server:
    """One server process at ``port``."""

    def __init__(
        self, command: Sequence[str], port: int, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command, self.port, self.directory = command, port, directory
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it accepts connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=self.directory,
                start_new_session=True,
            )
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()
        pytest.fail(f"{self.command[0]} did not start: {(self.directory / 'output').read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends it as a power loss would, with everything it started."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # What it started has its own time to go, and keeps the port until then.
            with contextlib.suppress(OSError):
                while True:
                    socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                    time.sleep(0.02)

    def pause(self) -> None:
        """Stops it from answering; its connections stay."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self._process is not None


def redis_server(directory: Path) -> Server:
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    return Server([*command, "--appendonly", "yes", "--appendfsync", "always", "--save", ""], port, directory)


def nats_server(directory: Path) -> Server:
    port = free_port()
    command = [program("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(directory / "data")]
    return Server(command, port, directory)


def mosquitto(directory: Path, *lines: str) -> Server:
    """``lines``: of its configuration, besides those that make it listen."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    given = [
        f"listener {port} 127.0.0.1", "user root", "allow_anonymous true", "max_queued_messages 0", *lines,
    ]  # fmt: skip
    (directory / "mosquitto.conf").write_text("\n".join(given) + "\n")
    return Server([program("mosquitto"), "-c", str(directory / "mosquitto.conf")], port, directory)


def webhook_receiver(directory: Path) -> Server:
    """``turnout.testing``'s; its log is ``directory / "log"``."""
    port = free_port()
    command = [sys.executable, "-m", "turnout.testing.receiver", str(directory / "log"), "--port", str(port)]
    return Server(command, port, directory)


def mail_server(directory: Path) -> Server:
    """Of aiosmtpd; it notes the ids of mails in ``directory / "log"``."""
    port = free_port()
    child = Path(__file__).with_name("mail_child.py")
    return Server([sys.executable, str(child), str(directory / "log"), str(port)], port, directory)


KAFKA_LARGEST = 1_000_000
"""Bytes of a batch that topics take."""


def kafka(directory: Path) -> Server:
    """Kafka in KRaft mode on a JVM, from the jars that ``make test-kafka`` brings."""
    jars = Path(__file__).parent.parent / "target" / "kafka"
    if not any(jars.glob("kafka_*.jar")):
        pytest.skip("Kafka's jars are not in target/kafka (make test-kafka)")
    port, controller = free_port(), free_port()
    directory.mkdir(parents=True, exist_ok=True)
    settings = directory / "server.properties"
    given = [
        "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller}",
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}", "controller.listener.names=CONTROLLER",
        f"log.dirs={directory / 'data'}", "auto.create.topics.enable=false", "offsets.topic.replication.factor=1",
        "offsets.topic.num.partitions=1", "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1", "group.initial.rebalance.delay.ms=0", f"message.max.bytes={KAFKA_LARGEST}",
        "broker.session.timeout.ms=1500", "broker.heartbeat.interval.ms=300",
    ]  # fmt: skip
    settings.write_text("\n".join(given) + "\n")
    java = [program("java"), "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    formatting = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(settings)]
    with (directory / "output").open("ab") as output:
        subprocess.run([*java, *formatting], check=True, stdout=output, stderr=output)
    return Server([*java, "kafka.Kafka", str(settings)], port, directory)


RABBITMQ_LARGEST = 4 * 2**20
"""Bytes of a message at most; as it comes, more than a test wants to send."""


def rabbitmq_server(directory: Path) -> Server:
    port, distribution = free_port(), free_port()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rabbitmq.conf").write_text(f"max_message_size = {RABBITMQ_LARGEST}\n")
    environment = {
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_NODENAME": f"turnout{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "HOME": str(directory),
    }
    # Debian's wrapper changes to another user; the program itself does not.
    path = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    program("rabbitmq-server")
    return Server([str(path)], port, directory, environment)
