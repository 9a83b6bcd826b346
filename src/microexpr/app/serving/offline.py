"""A process that stays at home: nothing it uses may open a connection to another machine."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

_SILENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
_CONNECTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_ASKS = ("socket.getaddrinfo", "socket.gethostbyname")


def stay_offline() -> None:
    """Refuses, from now on and for good, every connection of this process but to itself.

    Libraries are told to be silent; one that does not listen gets a PermissionError. To be called
    before gradio is imported. Processes started later must call it themselves.
    """
    os.environ.update(_SILENT)
    sys.addaudithook(_refuse)


def is_home(host: object) -> bool:
    """Whether an address is this machine's loopback, or a file of it.

    >>> [is_home(h) for h in ("127.0.0.1", "::1", "localhost", None, "/run/a.sock")]
    [True, True, True, True, True]
    >>> [is_home(h) for h in ("10.0.0.1", "example.org", "0.0.0.0", "127.0.0.1.example.org")]
    [False, False, False, False]
    """
    if isinstance(host, bytes):
        host = host.decode("utf-8", "replace")
    if host in (None, "", "localhost") or not isinstance(host, str) or host.startswith(("/", "\0")):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _CONNECTS:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else address
    elif event in _ASKS:
        host = arguments[0]
    else:
        return
    if not is_home(host):
        raise PermissionError(f"the app makes no outside request, but something asked for {host}")
