"""Which web pages may connect: the viewer's own, and no other page that is open in the same browser."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_own_origin(origin: str | None, requested: str | None, listening: str) -> bool:
    """Whether the viewer's own page connects, or a program that is no browser.

    Args:
        origin: the header `Origin`, the page's own address; None: no browser connects.
        requested: the header `Host`, the address that was connected to.
        listening: the host that the viewer listens on.
    """
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        name = page.hostname or ""
    except ValueError:
        return False
    if page.netloc.lower() != (requested or "").lower():
        return False
    # A foreign name can be made to resolve to this machine (DNS rebinding); then both headers have that name.
    return _is_address(name) or name in ("localhost", listening.lower(), socket.gethostname().lower())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
