"""SPF as the RFC's own test suite has it, asked over real DNS."""

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.dns_server import DnsServer, Zone
from worker.sender.lookup import Resolver, Server
from worker.sender.spf import check_host

SECONDS: Final = 1.0
SUITE: Final = json.loads((Path(__file__).parent / "data" / "rfc7208-tests.json").read_text("utf-8"))


def _cases() -> Iterator[Any]:
    for scenario in SUITE["scenarios"]:
        zone = {name: _with_txt(entries) for name, entries in scenario["zonedata"].items()}
        for name, case in scenario["tests"].items():
            yield pytest.param(zone, case, id=f"{scenario['description']}: {name}")


def _with_txt(entries: list[Mapping[str, Any] | str]) -> list[Mapping[str, Any] | str]:
    """The suite writes SPF for records that stand in TXT, unless TXT is there too; NONE is no record."""
    explicit = any("TXT" in entry for entry in entries)
    kept = [entry for entry in entries if isinstance(entry, str) or entry.get("TXT") != "NONE"]
    if explicit:
        return kept
    return [{"TXT": entry["SPF"]} if isinstance(entry, Mapping) and "SPF" in entry else entry for entry in kept]


@pytest.mark.parametrize(("zone", "case"), [*_cases()])
async def test_the_rfcs_own_test_suite(zone: Zone, case: Mapping[str, Any]) -> None:
    """Every test of openspf.org's suite for RFC 7208, save for what explanations say."""
    sender = case["mailfrom"] or f"postmaster@{case['helo']}"
    async with DnsServer(zone) as server:
        names = Resolver(Server.parse(server.address), seconds=SECONDS)
        verdict = await check_host(names, ip_address(case["host"]), sender, case["helo"])
    expected = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert verdict.result in expected, verdict
