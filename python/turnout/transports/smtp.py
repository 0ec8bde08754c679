"""``smtp://USER@HOST:587``: a message is a mail to one address, over STARTTLS; ``smtps:`` is TLS from the start.

Content that is a text is the mail's text; a mapping may give ``subject``, ``text`` and ``html``; anything else is sent
as JSON. Sender and recipient come from the configuration only, so no message can choose whom it is sent to. The message
id is in ``X-Message-Id``, and in ``Message-ID`` as a digest that is the same for all attempts.

Delivered means that the server took responsibility (250 after the data). Classes of answers: 421 and 452: overloaded,
for five seconds; 5xx to the data: the message's fault; all else, such as a recipient that is refused: of the
destination, whose recipient and sender these are.
"""

from __future__ import annotations

import asyncio
import hashlib
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from ..config.channels import SmtpOptions
from ..errors import ConfigError, DeliveryError
from ..security import client_context
from .base import Target
from .connection import Connection, describe
from .encoding import header_id
from .wording import wording_of

_PAUSE: Final = 5.0
_BUSY: Final = frozenset({421, 452})


class SmtpTransport:
    """Mails one destination's messages, over a few connections that are kept."""

    def __init__(self, target: Target) -> None:
        """Raises ConfigError: the options are missing, the url names no host, or a password would be sent in clear."""
        if not isinstance(target.options, SmtpOptions):
            raise ConfigError("an smtp: url needs the options `sender` and `to`")
        options = self._options = target.options
        parts = urlsplit(target.url_with_password())
        self._implicit = parts.scheme == "smtps"
        if not parts.hostname:
            raise ConfigError("the url names no host; write one such as smtp://mail.example:587")
        self._host, self._port = parts.hostname, parts.port or (465 if self._implicit else 587)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._encrypted = self._implicit or options.starttls
        if self._user and not self._encrypted:
            raise ConfigError("starttls is false and the url has a user: the password would be sent in the clear")
        self._tls = client_context(options.ca_file) if self._encrypted else None
        self._free: asyncio.LifoQueue[Connection[aiosmtplib.SMTP]] = asyncio.LifoQueue()
        self._connections = [self._connection() for _ in range(options.connections)]
        for connection in self._connections:
            self._free.put_nowait(connection)

    def open(self) -> None:
        """Nothing is acquired before the first send."""

    async def send(
        self,
        message: object,
        destination: str,
        *,
        message_id: str,
        attempt: int,
        deadline: float | None = None,
        expires: float | None = None,
    ) -> str:
        """See :meth:`Transport.send`; returns the server's last words.

        Raises:
            DeliveryError: kinds ``unencodable``, ``rejected``, ``overloaded``, ``refused``, ``timeout``,
                ``connection``.
        """
        mail = self._mail(message, message_id)
        options = self._options
        connection = await self._free.get()
        try:
            async with connection.use() as client:
                done = False
                try:
                    _, said = await client.sendmail(options.sender, [options.to], mail)
                    done = True
                except (aiosmtplib.SMTPException, OSError) as error:
                    raise _judged(error) from error
                finally:
                    if not done:  # in the middle of a dialogue; a new connection is sure to be at its beginning
                        connection.drop(client)
                return said
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        for connection in self._connections:
            await connection.close()

    def _connection(self) -> Connection[aiosmtplib.SMTP]:
        return Connection(
            self._connect,
            _goodbye,
            lambda client: client.is_connected,
            timeout=self._options.timeout,
            broken=(aiosmtplib.SMTPException, OSError),
        )

    async def _connect(self) -> aiosmtplib.SMTP:
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            timeout=self._options.timeout,
            use_tls=self._implicit,
            start_tls=self._options.starttls and not self._implicit,
            tls_context=self._tls,
        )
        await client.connect()
        return client

    def _mail(self, message: object, message_id: str) -> bytes:
        mail = EmailMessage(policy=POLICY)
        subject, text, html = wording_of(message, self._options.subject, self._options.body)
        try:
            mail["From"], mail["To"], mail["Subject"] = self._options.sender, self._options.to, subject
            mail["X-Message-Id"] = header_id(message_id)
            digest = hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
            mail["Message-ID"] = f"<{digest}@{self._options.sender.rpartition('@')[2]}>"
            mail.set_content(text)
            if html is not None:
                mail.add_alternative(html, subtype="html")
            return mail.as_bytes()
        except (ValueError, TypeError) as error:  # such as a line break in the subject
            raise DeliveryError("unencodable", f"the message cannot be a mail: {error}", retryable=False) from None


async def _goodbye(client: aiosmtplib.SMTP) -> None:
    try:
        await client.quit()
    except (aiosmtplib.SMTPException, OSError):
        client.close()


def _judged(error: Any) -> DeliveryError:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    said = describe(error)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        if error.code in _BUSY:
            return DeliveryError("overloaded", said, retry_after=_PAUSE)
        if isinstance(error, aiosmtplib.SMTPDataError) and 500 <= error.code < 600:
            return DeliveryError("rejected", said, retryable=False)
        return DeliveryError("refused", said)
    return DeliveryError("timeout" if isinstance(error, TimeoutError) else "connection", said)
