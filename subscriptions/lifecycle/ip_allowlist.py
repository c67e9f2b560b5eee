"""Where calls for a subscription may come from: networks, as people write them. None at all: from everywhere."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MOST = 100  # networks of a subscription
LONGEST = 60  # characters of one


class NotUnderstood(ValueError):
    """What was written is no network; the message says what is wrong."""


def read(text: str) -> Network:
    """The network: 192.0.2.0/24, fd00::/8, or a single address. Raises NotUnderstood."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError:
        pass
    try:
        whole = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise NotUnderstood(f"“{text[:LONGEST]}” is no network such as 192.0.2.0/24 or fd00::/8.") from None
    raise NotUnderstood(f"“{text[:LONGEST]}” has bits set behind its prefix; the network there is {whole}.")


def read_all(texts: Sequence[str]) -> list[str]:
    """As they are stored: in the usual notation, each once. Raises NotUnderstood for the first that is none."""
    if len(texts) > MOST:
        raise NotUnderstood(f"At most {MOST} networks.")
    return list(dict.fromkeys(str(read(text)) for text in texts))


def stored(texts: Sequence[str]) -> tuple[Network, ...]:
    """Those that were stored, ready to be asked."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def why_elsewhere(address: str, allowed: Sequence[Network]) -> str:
    """Why a call from that address is refused; empty when it is not."""
    if not allowed or _is_in(address, allowed):
        return ""
    return f"It came from {address or 'an unknown address'}, which is in none of this subscription's allowed networks."


def _is_in(address: str, allowed: Sequence[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A server that listens on :: sees IPv4 in this form.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in network or found in network for network in allowed)
