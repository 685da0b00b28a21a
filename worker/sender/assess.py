"""Whether receivers will believe the From address of mail through a host, in the guide's words if it has some.

The worker's envelope sender is its From address, so a mail that passes SPF also aligns for DMARC. Whether the
host signs with DKIM cannot be seen from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Final

from worker.sender.dmarc import Dmarc, Policy, policy_of
from worker.sender.lookup import Address, LookupFailedError, Names
from worker.sender.spf import Verdict, check_host
from worker.sender.spf_record import Result

ZENGENTI_HOST: Final = "smtp.zengenti.com"
CONTENSIS_DOMAIN: Final = "contensis.com"
MOST_ADDRESSES: Final = 4


class Standing(StrEnum):
    """What a remark says of the mail."""

    GOOD = "good"
    BAD = "bad"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Remark:
    """What was found about `subject`, which is `spf` or `dmarc`."""

    subject: str
    standing: Standing
    text: str


async def assess(names: Names, host: str, sender: str) -> tuple[Remark, Remark]:
    """What the domain of `sender`, a bare address, says of mail through `host`: on SPF, and on DMARC."""
    spf = await _spf(names, host.rstrip(".").lower(), sender)
    return spf, await _dmarc(names, host, sender.rpartition("@")[2], spf.standing)


async def _spf(names: Names, host: str, sender: str) -> Remark:
    domain = sender.rpartition("@")[2]
    try:
        addresses = await _addresses(names, host)
        verdicts = {address: await check_host(names, address, sender, host) for address in addresses}
    except LookupFailedError as fault:
        return _without_spf(host, domain, f"The addresses of {host} could not be looked up: {fault}.")
    if not verdicts:
        return _without_spf(host, domain, f"The DNS knows no address of {host}.")
    return _remark(host, domain, verdicts)


async def _addresses(names: Names, host: str) -> Sequence[Address]:
    try:
        return (ip_address(host),)
    except ValueError:
        return [*await names.addresses(host, 4), *await names.addresses(host, 6)][:MOST_ADDRESSES]


def _remark(host: str, domain: str, verdicts: dict[Address, Verdict]) -> Remark:
    refused = {address: verdict for address, verdict in verdicts.items() if verdict.result is not Result.PASS}
    if not refused:
        shown = ", ".join(map(str, verdicts))
        why = next(iter(verdicts.values())).why
        return Remark("spf", Standing.GOOD, f"{domain} authorises {host} ({shown}) by {why}.")
    verdict = next(iter(refused.values()))
    if verdict.result in _EVALUATED and (provider := _provider(host, verdict)):
        return Remark("spf", Standing.GOOD, f"{domain} authorises {host} by {provider} in its SPF record.")
    if verdict.result is Result.TEMPERROR:
        return _without_spf(host, domain, f"The SPF record of {domain} could not be looked up: {verdict.why}.")
    if all(map(_is_internal, refused)) and not _is_known_bad(host, domain):
        return Remark("spf", Standing.UNCLEAR, _INTERNAL.format(host=host, domain=domain))
    return Remark("spf", Standing.BAD, f"{_finding(host, domain, refused)} {_consequence(host, domain)}")


_EVALUATED: Final = frozenset({Result.FAIL, Result.SOFTFAIL, Result.NEUTRAL})
"""The record could be read to its end; what it includes holds only then."""


def _without_spf(host: str, domain: str, why: str) -> Remark:
    """What the guide says holds without a look."""
    if _is_known_bad(host, domain):
        return Remark("spf", Standing.BAD, _consequence(host, domain))
    if (host, domain) == (ZENGENTI_HOST, CONTENSIS_DOMAIN):
        return Remark("spf", Standing.GOOD, "contensis.com authorises Zengenti's mail servers.")
    return Remark("spf", Standing.UNCLEAR, why)


def _finding(host: str, domain: str, refused: dict[Address, Verdict]) -> str:
    verdict = next(iter(refused.values()))
    shown = ", ".join(map(str, refused))
    match verdict.result:
        case Result.NONE:
            return f"{domain} has no SPF record, so it does not authorise {host} ({shown})."
        case Result.PERMERROR:
            return f"The SPF record of {domain} cannot be evaluated: {verdict.why}."
        case result:
            return f"{domain} does not authorise {host} ({shown}): SPF {result}, {verdict.why}."


def _consequence(host: str, domain: str) -> str:
    if host == ZENGENTI_HOST and domain != CONTENSIS_DOMAIN:
        return f"{_THROUGH_ZENGENTI} {_GUIDE} {_OWN_SERVER}"
    if domain == CONTENSIS_DOMAIN:
        return f"{_FROM_CONTENSIS} {_GUIDE} {_OWN_ADDRESS}"
    return f"{_GUIDE} {_OWN_RECORD}"


def _is_known_bad(host: str, domain: str) -> bool:
    """Without a look: contensis.com is authorised for Zengenti's server, and nothing else on either side is."""
    return (host == ZENGENTI_HOST) != (domain == CONTENSIS_DOMAIN)


def _provider(host: str, verdict: Verdict) -> str:
    """The name among those that the record includes that stands for the host's provider, or nothing.

    Providers send from other addresses than those that their customers connect to.
    """
    included = verdict.visited[1:]
    usual = {name for suffix, name in _SPF_NAMES.items() if _is_within(host, suffix)}
    return next((name for name in included if name in usual or _is_within(host, _owner(name))), "")


def _owner(name: str) -> str:
    """`spf.example.com` or `_spf.eu.example.com` stands for example.com: what is left of the labels for SPF."""
    labels = name.split(".")
    marks = [n for n, label in enumerate(labels) if "spf" in label]
    owner = labels[marks[-1] + 1 :] if marks else labels
    return ".".join(owner if len(owner) > 1 else labels)


def _is_within(name: str, domain: str) -> bool:
    return f".{name}".endswith(f".{domain}")


def _is_internal(address: Address) -> bool:
    return any(address in network for network in _INTERNAL_NETWORKS if network.version == address.version)


async def _dmarc(names: Names, host: str, domain: str, spf: Standing) -> Remark:
    try:
        found = await policy_of(names, domain)
    except LookupFailedError as fault:
        text = f"The DMARC policy of {domain} could not be looked up: {fault}."
        return Remark("dmarc", Standing.UNCLEAR, text)
    if found is None:
        return Remark("dmarc", Standing.GOOD, f"{domain} publishes no DMARC policy.")
    return Remark("dmarc", _standing(found, spf), f"{_policy(found)}{_alignment(found, host, domain, spf)}")


def _standing(found: Dmarc, spf: Standing) -> Standing:
    return Standing.GOOD if found.policy is Policy.NONE else spf


def _policy(found: Dmarc) -> str:
    mode = "strict" if found.strict else "relaxed"
    return f"The DMARC policy of {found.at} is {found.policy}, with {mode} SPF alignment: "


def _alignment(found: Dmarc, host: str, domain: str, spf: Standing) -> str:
    if spf is Standing.GOOD:
        return f"mail through {host} aligns, since its envelope sender is its From address."
    what = _WHAT_RECEIVERS_DO[found.policy]
    return f"receivers {what} mail that passes neither SPF nor has a DKIM signature of {domain}."


_WHAT_RECEIVERS_DO: Final = {
    Policy.NONE: "are only asked to report",
    Policy.QUARANTINE: "quarantine",
    Policy.REJECT: "reject",
}

_THROUGH_ZENGENTI: Final = (
    "The From address is on your own domain while you are still sending through Zengenti's server."
)
_FROM_CONTENSIS: Final = (
    "The From address is on the contensis.com domain while mail does not go through Zengenti's server."
)
_GUIDE: Final = (
    "Receiving mail servers will see email claiming to be from your domain but sent from servers your domain "
    "hasn't authorised. The messages will fail SPF and DMARC checks, and most providers, including Google and "
    "Microsoft, will quarantine or reject them."
)
_OWN_SERVER: Final = (
    "To send emails from your own domain, use your own SMTP server by changing EmailSMTPHost and the related "
    "settings, or set NOTIFY_DEFAULT_FROM to an address on the contensis.com domain."
)
_OWN_ADDRESS: Final = (
    "contensis.com authorises Zengenti's mail servers only: set NOTIFY_DEFAULT_FROM to an address on a domain "
    "that authorises your server, or EmailSMTPHost to smtp.zengenti.com."
)
_OWN_RECORD: Final = (
    "Add the server to the domain's SPF record, or set NOTIFY_DEFAULT_FROM to an address on a domain that "
    "authorises it. If mail leaves the provider by other servers than this one, those are what counts."
)
_INTERNAL: Final = (
    "{host} has an internal address. Make sure that the SPF record of {domain} authorises the public address "
    "that mail leaves from; it cannot be seen from here."
)

_SPF_NAMES: Final = {
    "office365.com": "spf.protection.outlook.com",
    "outlook.com": "spf.protection.outlook.com",
    "gmail.com": "_spf.google.com",
    "amazonaws.com": "amazonses.com",
    "postmarkapp.com": "spf.mtasv.net",
}
"""Where customers connect to -> the name that these providers ask to be included in SPF records."""

_INTERNAL_NETWORKS: Final = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
