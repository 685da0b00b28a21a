"""Opens sessions for the pool and for probes, and says what a failure to open one counts as."""

from collections.abc import Awaitable, Callable

from opentelemetry.trace import SpanKind

from contracts.dead_letter import Reason
from contracts.signals import Attribute
from contracts.signals import Span as SpanName
from worker import telemetry
from worker.errors import PermanentError, TransientError
from worker.outage import Outage
from worker.smtp.oauth2 import Token, TokenSource
from worker.smtp.plan import ConnectionPlan, OAuth2
from worker.smtp.session import Session

Open = Callable[[ConnectionPlan, Callable[[], Awaitable[Token]] | None], Awaitable[Session]]


class NotOpenedError(TransientError):
    """No session could be opened, for a passing reason: nothing of any mail was said."""

    @classmethod
    def of(cls, error: TransientError) -> "NotOpenedError":
        """The same trouble, known to be one of opening."""
        return cls(error.reason, error.detail, scope=error.scope, retry_after=error.retry_after)


class NotAdmittedError(PermanentError):
    """No session could be opened, and trying again cannot help: it is so for every mail of this login."""

    @classmethod
    def of(cls, error: PermanentError) -> "NotAdmittedError":
        """The same fault, known to be one of opening."""
        return cls(error.reason, error.detail, settings=error.settings, hint=error.hint)


class Connector:
    """Opens sessions by `open_session`, with tokens of `tokens` where the plan asks for them."""

    def __init__(self, open_session: Open, tokens: TokenSource, outage: Outage) -> None:
        self._open_session = open_session
        self._tokens = tokens
        self._outage = outage

    async def open(self, plan: ConnectionPlan) -> Session:
        """A session, logged in. Raises PermanentError and NotOpenedError."""
        attributes = {Attribute.SERVER_ADDRESS: plan.host, Attribute.SERVER_PORT: plan.port}
        try:
            with telemetry.span(SpanName.SMTP_CONNECT, SpanKind.CLIENT, attributes=attributes):
                session = await self._logged_in(plan)
        except PermanentError as error:
            counted = self._outage.as_outage(error)
            if isinstance(counted, TransientError):
                raise NotOpenedError.of(counted) from error
            raise NotAdmittedError.of(error) from error
        except TransientError as error:
            raise NotOpenedError.of(error) from error
        self._outage.connected()
        return session

    async def probe(self, plan: ConnectionPlan) -> None:
        """Opens a session and closes it. Raises as `open` does."""
        await (await self.open(plan)).close()

    async def _logged_in(self, plan: ConnectionPlan) -> Session:
        if not isinstance(plan.authentication, OAuth2):
            return await self._open_session(plan, None)
        token = await self._tokens.token(plan.authentication)
        try:
            return await self._open_session(plan, _ready(token))
        except PermanentError as error:
            if error.reason is not Reason.SMTP_AUTHENTICATION_REFUSED:
                raise
            refusal = error
        # The token may be older than a permission: one forced refresh, once.
        return await self._open_session(plan, _ready(await self._newer(plan.authentication, token, refusal)))

    async def _newer(self, client: OAuth2, token: Token, refusal: PermanentError) -> Token:
        """Another token than the refused one. Raises `refusal` where there is none."""
        try:
            newer = await self._tokens.renewed(client, token)
        except (PermanentError, TransientError):
            raise refusal from None
        if newer is token:
            raise refusal
        return newer


def _ready(token: Token) -> Callable[[], Awaitable[Token]]:
    async def given() -> Token:
        return token

    return given
