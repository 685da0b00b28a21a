"""Mail addresses: `name <address>` as people write it -> the parts a header and an envelope need."""

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna

MAX_LOCAL_OCTETS: Final = 64  # RFC 5321 §4.5.3.1.1
MAX_ADDRESS_OCTETS: Final = 254  # RFC 5321 §4.5.3.1.3: a path of 256 with its angle brackets

_BLANKS_AND_CONTROLS = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# RFC 5322 §3.2.3 with the non-ASCII of RFC 6532 §3.2. Quoted local parts are refused: nobody has one.
_ATOM = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f-\x9f]+'
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
# RFC 2047 §5: none may stand in an address, and readers that decode it all the same find line breaks in it.
_ENCODED_WORD = re.compile(r"=\?.*\?=")
# Wider than host names by the underscore, which internal domains have. One label will do: localhost.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

_ADDRESS_LITERAL = re.compile(r"\[(?P<ipv6>IPv6:)?(?P<number>[0-9a-f:.]+)\]", re.ASCII | re.IGNORECASE)

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class AddressError(ValueError):
    """The text is not one mailbox that mail can be sent to. The message never repeats the text."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name, possibly empty, and a bare address with its domain in ASCII (punycode)."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """What stands behind the last @."""
        return self.address.rpartition("@")[2]

    @property
    def needs_smtputf8(self) -> bool:
        """Whether a server has to offer SMTPUTF8 (RFC 6531): the part before the @ is not ASCII."""
        return not self.address.isascii()


def parse_mailbox(text: str) -> Mailbox:
    """Read `local@domain` or `Name <local@domain>`, the name quoted or not.

    The domain comes out in lower-case punycode. Raises AddressError where `text` is anything else.
    """
    text = text.strip()
    if not text.endswith(">"):
        return Mailbox("", _address(text))
    name, bracket, address = text[:-1].rpartition("<")
    if not bracket:
        raise AddressError("The mail address has a > without its <: write Name <name@example.com>.")
    return Mailbox(_display_name(name.strip()), _address(address.strip()))


def normalised(address: str) -> str:
    """The form by which two spellings of one person's address are the same. Never raises.

    Text that is no address is only stripped and case-folded.
    """
    try:
        return unicodedata.normalize("NFC", parse_mailbox(address).address.casefold())
    except AddressError:
        return address.strip().casefold()


def one_line(text: str) -> str:
    """`text` as it may stand in a header.

    Every run of blanks, line breaks and other control characters becomes one space, none at either end; a lone
    surrogate, which has no UTF-8, becomes U+FFFD.
    """
    return _BLANKS_AND_CONTROLS.sub(" ", _LONE_SURROGATE.sub("\ufffd", text)).strip(" ")


def _display_name(text: str) -> str:
    if quoted := _QUOTED.fullmatch(text):
        return one_line(_QUOTED_PAIR.sub(r"\1", quoted[1]))
    if _is_list(text):
        raise AddressError("There is more than one mail address: give one, or quote the display name.")
    return one_line(text)


def _is_list(name: str) -> bool:
    """Whether an unquoted name holds another mailbox, which would silently get no mail."""
    return not {"<", ">"}.isdisjoint(name) or not {",", ";"}.isdisjoint(name.partition("@")[2])


def _address(text: str) -> str:
    if not text:
        raise AddressError("The mail address is empty: write it as name@example.com.")
    if not text.isprintable() or " " in text:
        raise AddressError("The mail address holds a blank, a line break or an invisible character: remove it.")
    _refuse_over_long(len(text))
    local, at, domain = unicodedata.normalize("NFC", text).rpartition("@")  # RFC 6532 §3.1
    if not at:
        raise AddressError("The mail address has no @: write it as name@example.com.")
    if not _DOT_ATOM.fullmatch(local) or _ENCODED_WORD.search(local):
        raise AddressError("The part of the mail address before the @ is not valid: check its signs and dots.")
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise AddressError("The part of the mail address before the @ is longer than 64 octets: shorten it.")
    address = f"{local}@{_domain(domain)}"
    _refuse_over_long(len(address.encode()))
    return address


def _refuse_over_long(size: int) -> None:
    if size > MAX_ADDRESS_OCTETS:
        raise AddressError("The mail address is longer than 254 octets: shorten it.")


def _domain(text: str) -> str:
    if text.startswith("["):
        return _address_literal(text)
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode()
    except UnicodeError:  # its message repeats the domain
        name = ""
    if not _DOMAIN_NAME.fullmatch(name := name.lower()):
        raise AddressError("The domain of the mail address is not valid: check what stands behind the @.")
    return name


def _address_literal(text: str) -> str:
    """RFC 5321 §4.1.3; the zone that Python's IPv6 type would take has no meaning in mail."""
    literal = _ADDRESS_LITERAL.fullmatch(text)
    with suppress(ValueError):  # its message repeats the domain
        if literal and literal["ipv6"]:
            return f"[IPv6:{IPv6Address(literal['number'])}]"
        if literal:
            return f"[{IPv4Address(literal['number'])}]"
    raise AddressError("The IP address behind the @ is not valid: write [192.0.2.1] or [IPv6:2001:db8::1].")
