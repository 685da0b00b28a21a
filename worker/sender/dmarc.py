"""What a domain asks receivers to do with mail that claims to be from it and cannot prove it (RFC 7489)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worker.sender.lookup import Names

MOST_QUERIES: Final = 8
_POLICY: Final = re.compile(r"none|quarantine|reject", re.IGNORECASE)


class Policy(StrEnum):
    """What is to become of a mail that fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Dmarc:
    """The policy that holds for a domain, published at `at`; `strict` is the alignment of SPF (aspf=s)."""

    at: str
    policy: Policy
    strict: bool


async def policy_of(names: Names, domain: str) -> Dmarc | None:
    """The policy for `domain`, its own or that of the nearest domain above it. Raises LookupFailedError.

    Walking up the tree finds the organisation's record without a list of public suffixes.
    """
    for above in _upwards(domain):
        records = [tags for text in await names.texts(f"_dmarc.{above}") if (tags := _tags(text))]
        if len(records) == 1:
            return _dmarc(records[0], above, inherited=above != domain)
    return None


def _upwards(domain: str) -> Iterator[str]:
    labels = domain.split(".")
    last = max(len(labels) - 1, 1)
    first = max(1, last - MOST_QUERIES + 1)
    yield domain
    for start in range(first, last):
        yield ".".join(labels[start:])


def _tags(text: str) -> dict[str, str]:
    """The tags of a record, with names in lower case; empty for a text that is none."""
    tags = {
        name.strip().lower(): value.strip()
        for name, _, value in (tag.partition("=") for tag in text.split(";"))
    }
    return tags if re.match(r"v\s*=\s*DMARC1\s*(;|$)", text) else {}


def _dmarc(tags: dict[str, str], at: str, *, inherited: bool) -> Dmarc:
    asked = (tags.get("sp") if inherited else None) or tags.get("p", "")
    # Section 6.6.3: a record whose policy is no policy counts as one that only wants reports.
    policy = Policy(asked.lower()) if _POLICY.fullmatch(asked) else Policy.NONE
    return Dmarc(at, policy, strict=tags.get("aspf", "r").lower() == "s")
