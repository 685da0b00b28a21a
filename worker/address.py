"""Mail addresses: `name <address>` as people write it -> the parts a header and an envelope need."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name, possibly empty, and a bare address with its domain in ASCII (punycode)."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """What stands behind the last @."""
        return self.address.rpartition("@")[2]
