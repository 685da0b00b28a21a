"""Asks a worker's endpoint, as probes and Prometheus do."""

import asyncio
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.ports import closed_port


@dataclass(frozen=True, slots=True)
class Asked:
    """A worker's endpoint; give its `variables` to the worker."""

    port: int

    @classmethod
    def somewhere(cls) -> "Asked":
        """On a port that nobody has."""
        return cls(closed_port())

    @property
    def variables(self) -> dict[str, str]:
        """The settings by which a worker serves there."""
        return {"NOTIFY_HEALTH_ADDRESS": f"127.0.0.1:{self.port}"}

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 where nobody answers."""
        try:
            async with httpx.AsyncClient() as http:
                response = await http.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)
        except httpx.TransportError:
            return 0, ""
        return response.status_code, response.text

    async def until(self, path: str, status: int, seconds: float = 30.0) -> str:
        """Returns the text as soon as `path` answers so. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while (answer := await self.get(path))[0] != status:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return answer[1]

    async def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a metric by its labels' values, in the order of the labels' names."""
        return {
            tuple(it.labels[label] for label in sorted(it.labels)): it.value
            for it in samples(await self.until("/metrics", 200))
            if it.name == name
        }


def samples(page: str) -> list[Sample]:
    """All that is on a page of metrics."""
    return [it for family in text_string_to_metric_families(page) for it in family.samples]
