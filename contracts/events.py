"""The events a CMS publishes: the CloudEvents 1.0 envelope and the four families, as one tagged union.

One `type` is one model, one JSON Schema and one template folder; finer choice is by data. Unknown fields are
ignored, since publishers may be newer than the worker. No validation message repeats what was wrong: an event
holds personal data, and messages end in logs.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic.alias_generators import to_camel

KIBIBYTE: Final = 1024
MAX_INLINE_ATTACHMENT_BYTES: Final = 1024 * KIBIBYTE
MAX_INLINE_EVENT_BYTES: Final = 4 * MAX_INLINE_ATTACHMENT_BYTES
MAX_ROUTING_KEY_BYTES: Final = 255

_MAILBOX = re.compile(r"(?:[^<>]*<[^\s<>@]+(?:@[^\s<>@]+)+>|[^\s<>@,;]+@[^\s<>@,;]+)")
_WEB_LINK = re.compile(r"https?://[^\s/?#]+", re.IGNORECASE)
_SECURE_LINK = re.compile(r"https://[^\s/?#]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters or line breaks")
    return text


def _mailbox(text: str) -> str:
    if not _MAILBOX.fullmatch(text.strip()):
        raise ValueError("must be one mailbox: an address, or a name followed by <address>")
    return text.strip()


def _web_link(text: str) -> str:
    if not _WEB_LINK.match(text):
        raise ValueError("must be an http or https address")
    return text


def _secure_link(link: SecretStr) -> SecretStr:
    if not _SECURE_LINK.match(_one_line(link.get_secret_value())):
        raise ValueError("must be an https address")
    return link


OneLine = Annotated[str, AfterValidator(_one_line)]
"""Text that may stand in a header: control characters and line breaks are refused."""

Identifier = Annotated[str, StringConstraints(min_length=1), AfterValidator(_one_line)]
"""A non-empty, one-line name."""

Mailbox = Annotated[OneLine, AfterValidator(_mailbox)]
"""`address` or `name <address>`."""

WebLink = Annotated[OneLine, AfterValidator(_web_link)]
"""An http or https address; other schemes never reach a mail."""

Localized = Annotated[str, Field(min_length=1)] | Annotated[dict[str, str], Field(min_length=1)]
"""`"text"`, or texts by language: `{"en-GB": "text", "cy": "testun"}`."""


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )


class Environment(_Part):
    """The CMS installation an event comes from."""

    alias: Identifier
    name: str
    url: WebLink


class Project(_Part):
    """The project content belongs to."""

    id: Identifier
    name: str
    primary_language: str | None = None


class Person(_Part):
    """Who did something in the CMS."""

    username: str
    first_name: str | None = None
    last_name: str | None = None
    email: OneLine | None = None


class Resource(_Part):
    """What the event is about, as in the CMS's webhook payload."""

    id: Identifier
    type: Literal["entry", "form", "user"]
    project_id: str | None = None
    content_type_id: str | None = None
    content_type_name: Localized | None = None
    title: str
    description: str | None = None
    language: str | None = None
    url: WebLink | None = None
    owner: str | None = None
    version_no: str | None = None


class RecipientReason(StrEnum):
    """Why somebody is written to."""

    APPROVER = "approver"
    CHOSEN_APPROVER = "chosenApprover"
    SUBMITTER = "submitter"
    CONTENT_OWNER = "contentOwner"
    PREVIOUS_CONTENT_OWNER = "previousContentOwner"
    ASSIGNEE = "assignee"
    PREVIOUS_ASSIGNEE = "previousAssignee"
    MENTIONED = "mentioned"
    PARTICIPANT = "participant"
    REVIEWER = "reviewer"
    ACCOUNT_HOLDER = "accountHolder"
    SYSTEM_ADMINISTRATOR = "systemAdministrator"


ALWAYS_SENT: Final = frozenset(
    {
        RecipientReason.CHOSEN_APPROVER,
        RecipientReason.CONTENT_OWNER,
        RecipientReason.PREVIOUS_CONTENT_OWNER,
        RecipientReason.ASSIGNEE,
        RecipientReason.PREVIOUS_ASSIGNEE,
        RecipientReason.MENTIONED,
        RecipientReason.ACCOUNT_HOLDER,
    }
)
"""Reasons that the CMS documents as sent whatever the notification settings are, and the account holder's."""


class Recipient(_Part):
    """One person to write to; the CMS has resolved roles and groups already.

    The address is judged when the mail is made, so that one bad address fails alone.
    """

    email: Identifier
    reason: RecipientReason
    first_name: str | None = None
    last_name: str | None = None
    username: str | None = None
    language: str | None = None
    timezone: str | None = None
    opt_out_of_notifications: bool = False

    @property
    def wants_email(self) -> bool:
        """Whether this person is sent the mail: not opted out, or the reason overrides opting out."""
        return self.reason in ALWAYS_SENT or not self.opt_out_of_notifications


class Attachment(_Part):
    """A file of the event: inline as base64, or by URL; exactly one of the two."""

    filename: Identifier
    content_type: OneLine = "application/octet-stream"
    disposition: Literal["attachment", "inline"] = "attachment"
    content_id: OneLine | None = None
    file_size: Annotated[int, Field(ge=0)] | None = None
    file_id: str | None = None
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-fA-F]{64}$")] | None = None
    url: OneLine | None = None
    content_base64: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.content_base64 is None):
            raise ValueError("exactly one of url and contentBase64 is needed")
        if self.content_base64 is not None and len(self.content) > MAX_INLINE_ATTACHMENT_BYTES:
            raise ValueError("contentBase64 is limited to 1 MiB; give a url for larger files")
        return self

    @property
    def content(self) -> bytes:
        """The inline content, decoded; empty for an attachment by URL.

        Raises ValueError where the base64 is broken.
        """
        try:
            return base64.b64decode(self.content_base64 or "", validate=True)
        except binascii.Error:
            raise ValueError("contentBase64 is not valid base64") from None


class Notification(_Part):
    """What every family's data has in common."""

    environment: Environment | None = None
    project: Project | None = None
    invoked_by: Person | None = None
    from_: Annotated[Mailbox | None, Field(alias="from")] = None
    reply_to: Mailbox | None = None
    attachments: tuple[Attachment, ...] = ()

    @model_validator(mode="after")
    def _inline_limit(self) -> Self:
        if sum(len(attachment.content) for attachment in self.attachments) > MAX_INLINE_EVENT_BYTES:
            raise ValueError("inline attachments are limited to 4 MiB an event")
        return self


class TransitionData(_Part):
    """What the author wrote with a transition."""

    message: str | None = None


class Transition(_Part):
    """The workflow event that happened, as `sys.workflow.transition`."""

    event: Identifier
    from_: Annotated[Identifier, Field(alias="from")]
    invoked: AwareDatetime | None = None
    invoked_by: str | None = None
    data: TransitionData | None = None


class Workflow(_Part):
    """The workflow state after the event, as `sys.workflow`. Customers may define their own."""

    id: Identifier
    state: Identifier
    state_name: Localized | None = None
    transition: Transition


class Schedule(_Part):
    """When content is to be published or unpublished."""

    type: Literal["publish", "unpublish"]
    date_time: AwareDatetime


SCHEDULING_EVENTS: Final = frozenset({"scheduledapprove", "submitandscheduledapprove"})


class WorkflowData(Notification):
    """An entry went from one workflow state to another."""

    invoked_by: Person
    resource: Resource
    workflow: Workflow
    schedule: Schedule | None = None
    recipients: Annotated[tuple[Recipient, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _schedule_needed(self) -> Self:
        event = self.workflow.transition.event.rpartition(".")[2]
        if event.lower() in SCHEDULING_EVENTS and self.schedule is None:
            raise ValueError(f"schedule is required for {event}")
        return self


class LabeledValue(_Part):
    """A choice of a form field: the stored value and what people see."""

    value: JsonValue
    label: Localized


class FormField(_Part):
    """A declared field of a form."""

    id: Identifier
    name: Localized
    data_type: str | None = None
    data_format: str | None = None
    group_id: str | None = None
    labeled_values: tuple[LabeledValue, ...] = ()


class FormGroup(_Part):
    """A page of a form."""

    id: Identifier
    name: Localized


class Form(_Part):
    """The form that was sent."""

    id: Identifier
    name: Localized
    version_no: str | None = None
    groups: tuple[FormGroup, ...] = ()
    fields: tuple[FormField, ...] = ()


class FormWorkflow(_Part):
    """The workflow state of a form response."""

    id: str
    state: str


class FormEmail(_Part):
    """One mail rule of a form that matched; the CMS has evaluated its conditions.

    `body` is plain text or a list of Canvas blocks, never HTML; placeholders in `subject` and `body` are
    Liquid variables.
    """

    rule: Literal["notification", "autoResponder"]
    to: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    from_: Annotated[Mailbox | None, Field(alias="from")] = None
    reply_to: Mailbox | None = None
    language: str | None = None
    subject: OneLine | None = None
    body: str | tuple[dict[str, JsonValue], ...] | None = None
    attach_files: bool = False


class FormData(Notification):
    """Somebody sent a form."""

    resource: Resource
    form: Form
    response: dict[str, JsonValue]
    workflow: FormWorkflow | None = None
    emails: Annotated[tuple[FormEmail, ...], Field(min_length=1)]


class Account(_Part):
    """The account a password reset is about."""

    id: Identifier
    username: str
    email: Identifier
    first_name: str | None = None
    last_name: str | None = None
    language: str | None = None
    timezone: str | None = None


class Reset(_Part):
    """What happens to the password; the link is a secret."""

    action: Literal["requested", "forced", "changed"]
    url: Annotated[SecretStr, AfterValidator(_secure_link)] | None = None
    expires: AwareDatetime | None = None
    ip_address: str | None = None

    @model_validator(mode="after")
    def _link_needed(self) -> Self:
        if self.action == "requested" and (self.url is None or self.expires is None):
            raise ValueError("url and expires are required for requested")
        return self


class PasswordResetData(_Part):
    """A password was reset, is to be reset, or has to be changed. One recipient, no attachments."""

    environment: Environment | None = None
    invoked_by: Person | None = None
    from_: Annotated[Mailbox | None, Field(alias="from")] = None
    reply_to: Mailbox | None = None
    user: Account
    reset: Reset


class Detail(_Part):
    """A row of a system message's table."""

    label: Localized
    value: Localized


class MessageAction(_Part):
    """The button of a system message."""

    label: Localized
    url: WebLink


class SystemMessage(_Part):
    """What the CMS has to say."""

    code: Identifier
    severity: Literal["info", "note", "success", "warning", "error"] = "info"
    title: Localized
    body: Localized | Annotated[tuple[Localized, ...], Field(min_length=1)]
    details: tuple[Detail, ...] = ()
    action: MessageAction | None = None


class SystemMessageData(Notification):
    """Any other message of the CMS."""

    message: SystemMessage
    resource: Resource | None = None
    recipients: Annotated[tuple[Recipient, ...], Field(min_length=1)]


class Envelope(_Part):
    """CloudEvents 1.0.2 context attributes (JSON format, structured mode) that the worker uses.

    `source` + `id` identify an event. After `expirytime` the mail would be useless and is never sent.
    """

    specversion: Literal["1.0"]
    id: Identifier
    source: Identifier
    subject: Identifier | None = None
    time: AwareDatetime
    datacontenttype: str | None = None
    dataschema: str | None = None
    expirytime: AwareDatetime | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    correlationid: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_claim_check(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "dataref" in values:
            raise ValueError("dataref is not supported: send the data in the event")
        return values


WORKFLOW_TYPE: Final = "com.contensis.entry.workflowEventRaised.v1"
FORM_TYPE: Final = "com.contensis.formResponse.created.v1"
PASSWORD_RESET_TYPE: Final = "com.contensis.user.passwordReset.v1"  # noqa: S105 - an event type, no password
SYSTEM_TYPE: Final = "com.contensis.system.message.v1"


class WorkflowEvent(Envelope):
    """An entry's workflow event; key `workflow.{projectId}.{workflowId}.{state}.{event}`."""

    type: Literal["com.contensis.entry.workflowEventRaised.v1"]
    data: WorkflowData

    def routing_key(self) -> str:
        """Where a publisher sends this event."""
        workflow = self.data.workflow
        project = self.data.resource.project_id or "none"
        return _key("workflow", project, workflow.id, workflow.state, workflow.transition.event)


class FormEvent(Envelope):
    """A form response; key `form.{projectId}.{contentTypeId}`."""

    type: Literal["com.contensis.formResponse.created.v1"]
    data: FormData

    def routing_key(self) -> str:
        """Where a publisher sends this event."""
        return _key("form", self.data.resource.project_id or "none", self.data.form.id)


class PasswordResetEvent(Envelope):
    """A password reset; key `password-reset.{action}`."""

    type: Literal["com.contensis.user.passwordReset.v1"]
    data: PasswordResetData

    def routing_key(self) -> str:
        """Where a publisher sends this event."""
        return _key("password-reset", self.data.reset.action)


class SystemEvent(Envelope):
    """A system message; key `system.{severity}.{code}`."""

    type: Literal["com.contensis.system.message.v1"]
    data: SystemMessageData

    def routing_key(self) -> str:
        """Where a publisher sends this event."""
        return _key("system", self.data.message.severity, self.data.message.code)


Event = WorkflowEvent | FormEvent | PasswordResetEvent | SystemEvent

EVENT: Final[TypeAdapter[Event]] = TypeAdapter(
    Annotated[WorkflowEvent | FormEvent | PasswordResetEvent | SystemEvent, Field(discriminator="type")],
    config=ConfigDict(hide_input_in_errors=True),  # the union's own faults would show the whole event
)
"""Validates a whole structured-mode event."""

FAMILIES: Final[Mapping[str, type[Event]]] = {
    "workflow": WorkflowEvent,
    "form": FormEvent,
    "password-reset": PasswordResetEvent,
    "system": SystemEvent,
}
"""Family, as in routing keys, template folders and `preview FAMILY` -> its model."""


def family_of(event: Event) -> str:
    """The family's name: workflow, form, password-reset or system."""
    return next(name for name, model in FAMILIES.items() if isinstance(event, model))


def expiry_of(event: Event) -> datetime | None:
    """When its mail becomes useless: the envelope's `expirytime` or the reset link's `expires`, the earlier."""
    link_expires = event.data.reset.expires if isinstance(event, PasswordResetEvent) else None
    return min((moment for moment in (event.expirytime, link_expires) if moment), default=None)


def type_of(model: type[Event]) -> str:
    """The CloudEvents `type` a family's model stands for."""
    return str(get_args(model.model_fields["type"].annotation)[0])


def _key(*segments: str) -> str:
    return ".".join(segments).encode()[:MAX_ROUTING_KEY_BYTES].decode(errors="ignore")
