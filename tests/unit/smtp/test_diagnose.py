"""What an error is in the light of what the port showed: one row for each documented mismatch."""

import ssl
from datetime import UTC, datetime
from typing import Final

import pytest

from contracts import error_texts
from contracts.dead_letter import ABOUT, Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.certificate import Certificate
from worker.smtp.diagnose import Handshake, Sight, verdict
from worker.smtp.plan import Encryption

NONE, STARTTLS, IMPLICIT = Encryption.NONE, Encryption.STARTTLS, Encryption.IMPLICIT
LOST: Final = TransientError(Reason.SMTP_UNREACHABLE, "greeting: lost", scope=Scope.SERVER)
VERSION: Final = PermanentError(Reason.SMTP_TLS_VERSION, "connect: TLS failed (HANDSHAKE_FAILURE)")
MODERN: Final = Handshake("TLSv1.3", "TLS_AES_256_GCM_SHA384")
OLD: Final = Handshake("TLSv1.1", "AES128-SHA")
WEAK: Final = Handshake("TLSv1.2", "RC4-MD5")
PLAIN: Final = "220 mail.example ESMTP"

Row = tuple[Encryption, Sight, PermanentError | TransientError, Reason, tuple[str, ...]]
ROWS: Final[dict[str, Row]] = {
    "implicit SSL, port speaks plain text": (
        IMPLICIT,
        Sight(greeting=PLAIN),
        LOST,
        Reason.SMTP_PORT_MISMATCH,
        ("in plain text although EmailSmtpUseImplicitSSL is true", "EmailSmtpPort", "usually 465"),
    ),
    "implicit SSL, port offers STARTTLS": (
        IMPLICIT,
        Sight(greeting=PLAIN, starttls=True),
        LOST,
        Reason.SMTP_PORT_MISMATCH,
        ("it offers STARTTLS", "EmailSmtpUseSSL to true", "EmailSmtpUseImplicitSSL to false"),
    ),
    "STARTTLS, port waits for implicit SSL": (
        STARTTLS,
        Sight(at_once=MODERN),
        LOST,
        Reason.SMTP_PORT_MISMATCH,
        ("waits for implicit SSL although EmailSmtpUseSSL", "EmailSmtpUseImplicitSSL to true", "587"),
    ),
    "no encryption, port waits for implicit SSL": (
        NONE,
        Sight(at_once=MODERN),
        LOST,
        Reason.SMTP_PORT_MISMATCH,
        ("neither SSL setting is enabled", "EmailSmtpUseImplicitSSL to true", "usually 25"),
    ),
    "STARTTLS against an old implicit port": (
        STARTTLS,
        Sight(at_once=OLD),
        LOST,
        Reason.SMTP_PORT_MISMATCH,
        ("waits for implicit SSL",),
    ),
    "implicit SSL, old version": (
        IMPLICIT,
        Sight(at_once=OLD),
        LOST,
        Reason.SMTP_TLS_VERSION,
        ("speaks TLS 1.1 at most", "EmailSMTPHost"),
    ),
    "STARTTLS, old version": (
        STARTTLS,
        Sight(greeting=PLAIN, starttls=True, upgraded=OLD),
        LOST,
        Reason.SMTP_TLS_VERSION,
        ("speaks TLS 1.1 at most",),
    ),
    "a version that is new enough, with a cipher that is not": (
        IMPLICIT,
        Sight(at_once=WEAK),
        VERSION,
        Reason.SMTP_TLS_VERSION,
        ("TLSv1.2 only", "RC4-MD5"),
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_the_port_shows_is_set_against_what_the_settings_say(row: Row) -> None:
    """Permanent, with what was seen and the names of the settings to change, and the guide's sentence."""
    encryption, sight, error, reason, words = row
    found = verdict(encryption, sight, error)
    assert isinstance(found, PermanentError)
    assert found.reason is reason
    assert ABOUT[found.reason].text == error_texts.CONNECTION_FAILS
    assert all(word in found.detail for word in words), found.detail


NOTHING: Final[list[tuple[Encryption, Sight]]] = [
    (NONE, Sight()),
    (STARTTLS, Sight()),
    (IMPLICIT, Sight()),
    (NONE, Sight(greeting=PLAIN)),
    (STARTTLS, Sight(greeting=PLAIN, starttls=True, upgraded=MODERN)),
    (IMPLICIT, Sight(at_once=MODERN)),
]


@pytest.mark.parametrize(("encryption", "sight"), NOTHING)
def test_a_port_that_fits_the_settings_leaves_the_error_as_it_is(encryption: Encryption, sight: Sight) -> None:
    """Then it is the network, or the server."""
    assert verdict(encryption, sight, LOST) is LOST


OWN_AUTHORITY: Final = ": if that is your own certificate authority, set NOTIFY_SMTP_CA_FILE to its certificate"
CERTIFICATE: Final = Certificate(("mail.example",), "Example CA", datetime(2027, 3, 1, tzinfo=UTC))


def _unverified(code: int, message: str) -> PermanentError:
    fault = ssl.SSLCertVerificationError(1, message)
    fault.verify_code, fault.verify_message = code, message
    error = PermanentError(Reason.SMTP_CERTIFICATE, f"connect: {message}")
    error.__cause__ = fault
    return error


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        (62, "Hostname mismatch.", ": set EmailSMTPHost to a name that the certificate is for"),
        (64, "IP address mismatch.", ": set EmailSMTPHost to a name that the certificate is for"),
        (18, "self-signed certificate", OWN_AUTHORITY),
        (20, "unable to get local issuer certificate", OWN_AUTHORITY),
        (10, "certificate has expired", ": it has to be renewed, or the clock of this host set"),
        (26, "unsuitable certificate purpose", ""),
    ],
)
def test_a_certificate_at_fault_is_described_with_what_to_do(code: int, message: str, advice: str) -> None:
    """OpenSSL's reason, then what the certificate is for, who issued it and until when."""
    found = verdict(IMPLICIT, Sight(certificate=CERTIFICATE), _unverified(code, message))
    seen = "it is for mail.example, issued by Example CA, valid until 2027-03-01"
    assert found.reason is Reason.SMTP_CERTIFICATE
    assert found.detail == f"connect: {message.rstrip('.')}; {seen}{advice}"


PEER: Final = {
    "subject": ((("commonName", "mail.example"),),),
    "issuer": ((("organizationName", "Example"),), (("commonName", "Example CA"),)),
    "notAfter": "Mar  1 12:00:00 2027 GMT",
}


@pytest.mark.parametrize(
    ("also", "words"),
    [
        ({}, "for mail.example, issued by Example CA, valid until 2027-03-01"),
        ({"issuer": PEER["subject"]}, "for mail.example, issued by itself, valid until 2027-03-01"),
        ({"issuer": ()}, "for mail.example, issued by an authority without a name, valid until 2027-03-01"),
        (
            {"subjectAltName": (("DNS", "a.example"), ("IP Address", "2001:DB8:0:0:0:0:0:1"))},
            "for a.example, 2001:db8::1, issued by Example CA, valid until 2027-03-01",
        ),
        (
            {"subjectAltName": tuple(("DNS", f"{n}.test") for n in range(6))},
            "for 0.test, 1.test, 2.test, 3.test and 2 more, issued by Example CA, valid until 2027-03-01",
        ),
    ],
)
def test_a_certificate_is_told_in_one_line(also: dict[str, object], words: str) -> None:
    """The common name counts only where there are no alternative names (RFC 6125)."""
    assert str(Certificate.of({**PEER, **also})) == words
