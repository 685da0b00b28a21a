"""A scripted SMTP server: speaks the real protocol on a loopback port, does as it is told, and remembers.

    async with SmtpServer(mechanisms=("PLAIN",), users={"cms": "secret"}) as server:
        server.answer("RCPT", "550 5.1.1 No such user", to="nobody@example.org")
        server.answer("MAIL", "451 4.3.0 Later", times=1)
        server.hang_up("BODY", times=1, accept=True)    # takes the message, and never says so
        ...                                             # let something send to server.host, server.port
        assert server.accepted[0].recipients == ("ann@example.org",)

Without a script it accepts everything that RFC 5321 lets it accept. Input may be pipelined. A script can step
in at these points: `CONNECT` (before the greeting), `EHLO`, `HELO`, `STARTTLS`, `AUTH`, `MAIL`, `RCPT`, `DATA`,
`CONTENT` (the first line after 354), `BODY` (the reply to the final dot), `RSET`, `NOOP` and `QUIT`.
"""

import asyncio
import base64
import binascii
import ssl
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import trustme

LINE_LIMIT: Final = 1024 * 1024
EXTENSIONS: Final = ("PIPELINING", "SIZE 36700160", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


def certified(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """A server's TLS context with a certificate of `authority` for `names`, by default for loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1"))).configure_cert(context)
    return context


def outdated(authority: trustme.CA) -> ssl.SSLContext:
    """As `certified`, of a server that knows nothing newer than TLS 1.1."""
    context = certified(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message the server took: envelope, bytes without the dots of the protocol, how it came, and when.

    `at` is in monotonic seconds.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    options: tuple[str, ...]
    login: str
    encrypted: bool
    connection: int
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Login:
    """One AUTH: what was presented, whether it was good, and on which connection."""

    mechanism: str
    user: str
    secret: str
    ok: bool
    connection: int


@dataclass(slots=True)
class Step:
    """One line of the script. Without a `reply` the ordinary one is given, unless the step is silent."""

    point: str
    reply: str = ""
    to: str = ""
    times: int | None = None
    skip: int = 0
    delay: float = 0.0
    then_close: bool = False
    silent: bool = False
    accept: bool = False

    def fits(self, point: str, recipients: Iterable[str]) -> bool:
        """Whether it is this step's turn; counts it if so."""
        if self.point != point or self.times == 0 or (self.to and self.to not in recipients):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class HungUpError(Exception):
    """The script, or the client, ended the connection."""


@dataclass
class SmtpServer:
    """The server. `extensions`, `users` (name -> password), `tokens` (mailbox -> token) may change as it runs.

    With `implicit`, TLS begins at once, else STARTTLS is offered if there is a `tls` context. `challenge` is
    the JSON that precedes the refusal of a token, as at Gmail; without it the refusal comes at once, as at
    Exchange. Without `initial_response` it wants what AUTH brings along in a line of its own. `reached` has an
    event for each point of the protocol, set when a dialogue has come to it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    extensions: tuple[str, ...] = EXTENSIONS
    mechanisms: tuple[str, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    challenge: str = ""
    initial_response: bool = True
    login_required: bool = False
    auth_only_encrypted: bool = False
    greeting: str = "220 test.invalid ESMTP"
    max_connections: int | None = None
    too_many: str = "421 4.7.0 Too many connections"

    accepted: list[Accepted] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    most_connections: int = 0
    reached: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def __post_init__(self) -> None:
        self._script: list[Step] = []
        self._server: asyncio.Server | None = None
        self._is_open = False
        self._dialogues: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; a stopped server comes back at the same port."""
        self._is_open = True
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, ssl=self.tls if self.implicit else None, limit=LINE_LIMIT
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and cuts every connection, also those that are just being made."""
        self._is_open = False
        if self._server:
            self._server.close()
        await self.cut()
        if self._server:
            await self._server.wait_closed()

    async def cut(self) -> None:
        """Cuts every connection, as a crash would."""
        for dialogue in self._dialogues:
            dialogue.cancel()
        await asyncio.gather(*self._dialogues, return_exceptions=True)

    def answer(
        self,
        point: str,
        reply: str,
        *,
        to: str = "",
        times: int | None = None,
        skip: int = 0,
        then_close: bool = False,
    ) -> None:
        """At `point` gives `reply`, such as `550 5.1.1 No`; lines of a longer one are parted by a newline.

        `to` limits it to mails for that address, `times` to so many times after `skip` times without.
        """
        self._script.append(
            Step(point, reply, to=to, times=times, skip=skip, then_close=then_close or reply.startswith("421"))
        )

    def hang_up(
        self, point: str, *, to: str = "", times: int | None = None, skip: int = 0, accept: bool = False
    ) -> None:
        """At `point` closes the connection instead of replying. At `BODY`, `accept` takes the message first."""
        self._script.append(
            Step(point, to=to, times=times, skip=skip, then_close=True, silent=True, accept=accept)
        )

    def stay_silent(self, point: str, *, to: str = "", times: int | None = None, skip: int = 0) -> None:
        """At `point` never replies, and keeps the connection."""
        self._script.append(Step(point, to=to, times=times, skip=skip, silent=True))

    def delay(self, point: str, seconds: float, *, to: str = "", times: int | None = None) -> None:
        """At `point` waits `seconds` before the ordinary reply."""
        self._script.append(Step(point, to=to, times=times, delay=seconds))

    def forget_script(self) -> None:
        """From now on everything is accepted again."""
        self._script.clear()

    async def until_accepted(self, count: int, *, within: float = 10.0) -> None:
        """Returns when `count` messages were accepted in all. Raises TimeoutError."""
        async with asyncio.timeout(within), self._arrival:
            await self._arrival.wait_for(lambda: len(self.accepted) >= count)

    async def take(self, message: Accepted) -> None:
        """Remembers an accepted message."""
        async with self._arrival:
            self.accepted.append(message)
            self._arrival.notify_all()

    def next_step(self, point: str, recipients: Iterable[str]) -> Step | None:
        """The first step of the script whose turn it is at `point`, which counts as reached."""
        self.reached[point].set()
        return next((step for step in self._script if step.fits(point, recipients)), None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        if not self._is_open:
            writer.transport.abort()
            return
        self._dialogues.add(task)
        self.connections += 1
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)
        try:
            # A client may vanish at any moment, and cut() ends a dialogue by cancelling it.
            with suppress(HungUpError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await Dialogue(self, reader, writer, self.connections).run()
        finally:
            self.open_connections -= 1
            self._dialogues.discard(task)
            writer.transport.abort()


@dataclass
class Envelope:
    """A mail under way."""

    sender: str | None = None
    options: tuple[str, ...] = ()
    recipients: list[str] = field(default_factory=list)


class Dialogue:
    """One connection."""

    def __init__(
        self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._number = number
        self._encrypted = server.implicit
        self._login = ""
        self._mail = Envelope()
        self._verbs: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail_from,
            "RCPT": self._rcpt_to,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }

    async def run(self) -> None:
        """Greets, then obeys until somebody hangs up."""
        await self._greet()
        async for line in self._lines():
            verb, _, rest = line.partition(" ")
            await self._verbs.get(verb.upper(), self._unknown)(rest)

    async def _greet(self) -> None:
        limit = self._server.max_connections
        if limit is not None and self._server.open_connections > limit:
            await self._send(self._server.too_many)
            raise HungUpError
        await self._reply("CONNECT", self._server.greeting)

    async def _lines(self) -> AsyncIterator[str]:
        while True:
            line = await self._line()
            self._server.commands.append(line)
            yield line

    async def _line(self) -> str:
        return (await self._raw_line()).decode("utf-8", "replace").rstrip("\r\n")

    async def _raw_line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise HungUpError
        return line

    async def _send(self, reply: str) -> None:
        code, lines = reply[:3], reply[4:].split("\n")
        marks = ["-"] * (len(lines) - 1) + [" "]
        text = "".join(f"{code}{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True))
        self._writer.write(text.encode("utf-8", "surrogateescape"))
        await self._writer.drain()

    async def _reply(self, point: str, ordinary: str, *also: str) -> str:
        """Replies as the script says at `point`, else with `ordinary`; returns what was said."""
        step = self._server.next_step(point, (*self._mail.recipients, *also))
        return await self._perform(step or Step(point), ordinary)

    async def _perform(self, step: Step, ordinary: str) -> str:
        await asyncio.sleep(step.delay)
        if step.silent and not step.then_close:
            await asyncio.Event().wait()
        reply = "" if step.silent else step.reply or ordinary
        if reply:
            await self._send(reply)
        if step.then_close:
            raise HungUpError
        return reply

    async def _ehlo(self, _name: str) -> None:
        # A second EHLO ends the login, as it does at Exchange.
        self._mail, self._login = Envelope(), ""
        await self._reply("EHLO", "\n".join(("250 test.invalid", *self._offers())))

    def _offers(self) -> tuple[str, ...]:
        server = self._server
        starttls = ("STARTTLS",) if server.tls and not self._encrypted else ()
        hidden = server.auth_only_encrypted and not self._encrypted
        auth = (f"AUTH {' '.join(server.mechanisms)}",) if server.mechanisms and not hidden else ()
        return (*server.extensions, *starttls, *auth)

    async def _helo(self, _name: str) -> None:
        self._mail = Envelope()
        await self._reply("HELO", "250 test.invalid")

    async def _starttls(self, _rest: str) -> None:
        if not self._server.tls or self._encrypted:
            await self._send("502 5.5.1 Not offered")
            return
        if (await self._reply("STARTTLS", "220 2.0.0 Go ahead")).startswith("220"):
            await self._writer.start_tls(self._server.tls)
            self._encrypted = True

    async def _auth(self, rest: str) -> None:
        mechanism, _, initial = rest.partition(" ")
        mechanism = mechanism.upper()
        if self._login:
            await self._send("503 5.5.1 Already authenticated")
        elif mechanism not in self._server.mechanisms:
            await self._send("504 5.5.4 Unrecognized authentication type")
        elif initial and not self._server.initial_response:
            await self._send("501 5.5.4 Syntax: AUTH mechanism")
        else:
            await self._check_login(mechanism, initial)

    async def _check_login(self, mechanism: str, initial: str) -> None:
        try:
            user, secret = await self._credentials(mechanism, initial)
        except (binascii.Error, UnicodeDecodeError, ValueError):
            await self._send("501 5.5.2 Cannot decode the response")
            return
        is_token = mechanism in {"XOAUTH2", "OAUTHBEARER"}
        known = self._server.tokens if is_token else self._server.users
        ok = known.get(user) == secret
        self._server.logins.append(Login(mechanism, user, secret, ok, self._number))
        if is_token and not ok and self._server.challenge:
            await self._ask(self._server.challenge)
        refusal = "535 5.7.3 Authentication unsuccessful"
        reply = await self._reply("AUTH", "235 2.7.0 Authentication successful" if ok else refusal)
        self._login = user if reply.startswith("235") else ""

    async def _credentials(self, mechanism: str, initial: str) -> tuple[str, str]:
        if mechanism == "LOGIN":
            user = _decoded(initial) if initial else await self._ask("Username:")
            return user, await self._ask("Password:")
        said = _decoded(initial) if initial else await self._ask("")
        if mechanism == "PLAIN":
            _, user, secret = said.split("\0")
            return user, secret
        fields = said.split("\1")
        user = fields[0].removeprefix("user=").removeprefix("n,a=").removesuffix(",")
        return user, next(f for f in fields if f.startswith("auth=")).removeprefix("auth=Bearer ")

    async def _ask(self, question: str) -> str:
        await self._send(f"334 {base64.b64encode(question.encode()).decode()}")
        return _decoded(await self._line())

    async def _mail_from(self, rest: str) -> None:
        address, *options = rest.removeprefix("FROM:").split(" ")
        if self._mail.sender is not None:
            await self._send("503 5.5.1 Nested MAIL command")
        elif self._server.login_required and not self._login:
            await self._send("530 5.7.0 Authentication required")
        elif (await self._reply("MAIL", "250 2.1.0 Ok")).startswith("250"):
            self._mail = Envelope(address[1:-1], tuple(options))

    async def _rcpt_to(self, rest: str) -> None:
        address = rest.removeprefix("TO:").split(" ")[0][1:-1]
        if self._mail.sender is None:
            await self._send("503 5.5.1 Need MAIL command")
        elif (await self._reply("RCPT", "250 2.1.5 Ok", address)).startswith("25"):
            self._mail.recipients.append(address)

    async def _data(self, _rest: str) -> None:
        if self._mail.sender is None:
            await self._send("503 5.5.1 Need MAIL command")
        elif not self._mail.recipients:
            await self._send("554 5.5.1 No valid recipients")
        elif (await self._reply("DATA", "354 End data with <CR><LF>.<CR><LF>")).startswith("354"):
            await self._receive()

    async def _receive(self) -> None:
        message = Accepted(
            sender=self._mail.sender or "",
            recipients=tuple(self._mail.recipients),
            content=await self._content(),
            options=self._mail.options,
            login=self._login,
            encrypted=self._encrypted,
            connection=self._number,
        )
        await self._conclude(message)
        self._mail = Envelope()

    async def _content(self) -> bytes:
        lines = bytearray()
        line = await self._raw_line()
        await self._reply("CONTENT", "")
        while line != b".\r\n":
            lines += line.removeprefix(b".")
            line = await self._raw_line()
        return bytes(lines)

    async def _conclude(self, message: Accepted) -> None:
        ordinary = "250 2.0.0 Ok: queued"
        step = self._server.next_step("BODY", message.recipients) or Step("BODY")
        says_yes = not step.silent and (step.reply or ordinary).startswith("250")
        if says_yes or step.accept:
            await self._server.take(message)
        await self._perform(step, ordinary)

    async def _rset(self, _rest: str) -> None:
        self._mail = Envelope()
        await self._reply("RSET", "250 2.0.0 Ok")

    async def _noop(self, _rest: str) -> None:
        await self._reply("NOOP", "250 2.0.0 Ok")

    async def _quit(self, _rest: str) -> None:
        await self._reply("QUIT", "221 2.0.0 Bye")
        raise HungUpError

    async def _unknown(self, _rest: str) -> None:
        await self._send("500 5.5.2 Command not recognised")


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()
