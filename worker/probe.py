"""Asks a running worker how it is: `python -m worker.probe [--ready]`, for container engines.

The same as `notify-worker health`, without all else that the commands need: it is started twice a minute.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final

from worker.settings import SettingsError, load
from worker.worker_settings import host_and_port

ANSWER_SECONDS: Final = 5.0
READY: Final = "--ready"
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(address: str | None, *, ready: bool) -> tuple[bool, str]:
    """Whether the worker that serves `address` is well, or ready, and what it says."""
    if not address:
        return True, "NOTIFY_HEALTH_ADDRESS is empty: there is nobody to ask."
    host, port = host_and_port(address)
    connection = HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz" if ready else "/livez")
        answer = connection.getresponse()
        return answer.status == HTTPStatus.OK, answer.read().decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        return False, f"no worker answers at {address} (NOTIFY_HEALTH_ADDRESS): {type(error).__name__}"
    finally:
        connection.close()


def main() -> int:
    """The exit code: 0 if it is well, else 1."""
    try:
        address = load(os.environ).worker.health_address
    except SettingsError as error:
        well, sentence = False, "\n".join(error.faults)
    else:
        well, sentence = ask(address, ready=READY in sys.argv[1:])
    print(sentence)  # noqa: T201 - the engine shows it
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
