"""Mail, against aiosmtpd on loopback."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

import servers
from broker_support import survives_a_restart
from servers import free_port
from transport_support import made, refusal, send
from turnout.errors import ConfigError
from turnout.testing import Received, TransportCase, checks_for, read_log
from turnout.testing.conformance import Check, Fault
from turnout.transports import Transport
from turnout.transports.encoding import header_id

ADDRESSES = {"sender": "router@example.org", "to": "inbox@example.com"}


class Inbox:
    """What a mail server got, and how it answers; runs in a thread of its own."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: dict[str, str] = {}
        self.fault: Fault | None = None
        self.released = asyncio.Event()

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        while self.fault == "hanging":  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.02)
        if self.fault == "retryable":
            server.transport.abort()
        answer = self.answers.get("DATA", "250 kept")
        if answer.startswith("250") and self.fault is None:
            raw = cast("bytes", envelope.content)
            self.mails.append(cast("EmailMessage", email.message_from_bytes(raw, policy=email.policy.default)))
        return answer


@contextmanager
def mail_server(inbox: Inbox, context: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    port = free_port()
    given: dict[str, Any] = {"data_size_limit": 2**26, **options}
    if context is not None:
        given |= {"tls_context": context}
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **given)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return context, str(file)


def plain(port: int, **options: Any) -> Transport:
    return made(f"smtp://127.0.0.1:{port}", **ADDRESSES, starttls=False, **options)


class SmtpCase(TransportCase):
    faults = frozenset({"retryable", "overloaded", "permanent", "hanging"})

    async def __aenter__(self) -> TransportCase:
        self._inbox = Inbox()
        self._server = mail_server(self._inbox)
        self._port = self._server.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    def transport(self) -> Transport:
        return plain(self._port)

    def header(self, message_id: str) -> str:
        return header_id(message_id)

    async def received(self) -> list[Received]:
        return [Received(str(mail["X-Message-Id"]), mail.get_content().encode()) for mail in self._inbox.mails]

    async def fail(self, fault: Fault) -> None:
        self._inbox.fault = fault
        self._inbox.answers = {"overloaded": {"RCPT": "452 later"}, "permanent": {"DATA": "554 spam"}}.get(fault, {})

    async def recover(self) -> None:
        self._inbox.fault, self._inbox.answers = None, {}


@pytest.mark.parametrize("check", checks_for(SmtpCase), ids=str)
async def test_mail_conforms(check: Check) -> None:
    await check(SmtpCase())


async def test_nothing_accepted_is_lost_while_the_server_is_killed_and_restarted(tmp_path: Path) -> None:
    server = servers.mail_server(tmp_path / "mail")
    server.start()
    log = tmp_path / "mail" / "log"

    async def received() -> list[Received]:
        return [Received(noted.id, b"") for noted in read_log(log)]

    destination = {"url": f"smtp://127.0.0.1:{server.port}", "options": {**ADDRESSES, "starttls": False}}
    try:
        await survives_a_restart(server, destination, received, tmp_path / "outbox.db", count=200)
    finally:
        server.kill()


@pytest.fixture
async def inbox() -> AsyncIterator[tuple[Inbox, int]]:
    one = Inbox()
    with mail_server(one) as port:
        yield one, port


async def test_content_gives_subject_text_and_html(inbox: tuple[Inbox, int]) -> None:
    kept, port = inbox
    transport = plain(port, subject="Standard")
    await send(transport, {"content": {"subject": "Grüße", "text": "Guten Tag", "html": "<b>Guten Tag</b>"}})
    await send(transport, {"content": "Only text"})
    await send(transport, {"channel": "sms", "content": {"n": 1}})
    await transport.close()
    first, second, third = kept.mails
    assert (first["Subject"], first["From"], first["To"]) == ("Grüße", "router@example.org", "inbox@example.com")
    text, html = first.get_body(("plain",)), first.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (text.get_content().strip(), html.get_content().strip()) == ("Guten Tag", "<b>Guten Tag</b>")
    assert (second["Subject"], second.get_content().strip()) == ("Standard", "Only text")
    assert '"channel": "sms"' in third.get_content()


async def test_a_subject_cannot_add_a_header(inbox: tuple[Inbox, int]) -> None:
    kept, port = inbox
    transport = plain(port)
    error = await refusal(transport, {"content": {"subject": "a\r\nBcc: x@example.net", "text": "b"}})
    await transport.close()
    assert (error.kind, error.retryable) == ("unencodable", False)
    assert not kept.mails


async def test_every_attempt_has_the_same_message_id(inbox: tuple[Inbox, int]) -> None:
    kept, port = inbox
    transport = plain(port)
    for attempt in (1, 2):
        await send(transport, {}, "m 1", attempt)
    await send(transport, {}, "m 2")
    await transport.close()
    first, again, other = (mail["Message-ID"] for mail in kept.mails)
    assert first == again != other
    assert first.endswith("@example.org>")


@pytest.mark.parametrize(
    ("answers", "kind", "retryable", "retry_after"),
    [
        ({"RCPT": "550 unknown"}, "refused", True, None),
        ({"RCPT": "450 busy"}, "refused", True, None),
        ({"RCPT": "452 full"}, "overloaded", True, 5.0),
        ({"DATA": "452 full"}, "overloaded", True, 5.0),
        ({"DATA": "451 error"}, "refused", True, None),
        ({"DATA": "552 too big"}, "rejected", False, None),
        ({"DATA": "554 spam"}, "rejected", False, None),
    ],
)
async def test_an_answer_says_what_becomes_of_the_message(
    inbox: tuple[Inbox, int], answers: dict[str, str], kind: str, retryable: bool, retry_after: float | None
) -> None:
    kept, port = inbox
    kept.answers = answers
    transport = plain(port)
    error = await refusal(transport)
    await transport.close()
    assert (error.kind, error.retryable, error.retry_after) == (kind, retryable, retry_after)


async def test_starttls_is_asked_for_verified_and_never_left_out(certificates: tuple[ssl.SSLContext, str]) -> None:
    context, file = certificates
    kept = Inbox()
    with mail_server(kept, context, require_starttls=True) as port:
        trusted = made(f"smtp://localhost:{port}", **ADDRESSES, ca_file=file)
        await send(trusted, {"content": "secret"})
        unknown = made(f"smtp://localhost:{port}", **ADDRESSES)
        assert (await refusal(unknown)).kind == "connection"
        for transport in (trusted, unknown):
            await transport.close()
    assert len(kept.mails) == 1
    with mail_server(kept) as port:  # offers no STARTTLS
        stripped = made(f"smtp://localhost:{port}", **ADDRESSES, ca_file=file)
        assert (await refusal(stripped)).kind == "connection"
        await stripped.close()
    assert len(kept.mails) == 1


async def test_the_secret_is_the_password_of_the_urls_user(certificates: tuple[ssl.SSLContext, str]) -> None:
    context, file = certificates
    kept, seen = Inbox(), []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, given: LoginPassword) -> AuthResult:
        seen.append((given.login, given.password))
        return AuthResult(success=given.password == b"p@ss")

    with mail_server(kept, context, authenticator=authenticate, auth_required=True) as port:
        right = made(f"smtp://user@localhost:{port}", secret="p@ss", **ADDRESSES, ca_file=file)  # noqa: S106
        await send(right, {"content": "x"})
        wrong = made(f"smtp://user:other@localhost:{port}", **ADDRESSES, ca_file=file)
        error = await refusal(wrong)
        for transport in (right, wrong):
            await transport.close()
    assert seen[0] == (b"user", b"p@ss")
    assert (error.kind, error.retryable) == ("connection", True)
    assert len(kept.mails) == 1


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("smtp://user:pass@localhost", {**ADDRESSES, "starttls": False}, "sent in the clear"),
        ("smtp:localhost", ADDRESSES, "names no host"),
        ("smtp://localhost", {"to": "a@b.c"}, "the key 'sender' is missing"),
        ("smtp://localhost", {**ADDRESSES, "connections": 0}, "at least 1"),
        ("smtp://localhost", {**ADDRESSES, "ca_file": "/nowhere"}, "cannot be used"),
    ],
)
def test_a_destination_that_can_never_work_is_refused(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(url, **options)
