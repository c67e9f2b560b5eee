"""The networks from which a subscription accepts requests. An empty list accepts requests from any address."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from providers.conflict import Conflict
from subscriptions.models import Subscription

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_NETWORKS = 100  # per subscription
MAX_NETWORK_LENGTH = 60  # characters
SENDERS_PERIOD = timedelta(hours=24)  # senders of accepted requests within this time are known
MAX_REQUESTS_READ = 2000
MAX_ADDRESSES_NAMED = 5


class InvalidNetwork(ValueError):
    """The text is not a network. The message says what is wrong."""


class WouldBlockSenders(Conflict):
    """The networks exclude addresses from which requests were accepted lately. The message has the figures."""

    code = "would_block_senders"


def parse_network(text: str) -> Network:
    """Parse a network such as 192.0.2.0/24 or fd00::/8, or a single address. Raises InvalidNetwork."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError:
        pass
    try:
        whole = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise InvalidNetwork(
            f"“{text[:MAX_NETWORK_LENGTH]}” is not a network such as 192.0.2.0/24 or fd00::/8."
        ) from None
    raise InvalidNetwork(f"“{text[:MAX_NETWORK_LENGTH]}” has host bits set; the network is {whole}.")


def normalize_networks(texts: Sequence[str]) -> list[str]:
    """Return the networks as they are stored: in canonical notation and without duplicates.

    Raises InvalidNetwork for the first text that is not a network.
    """
    if len(texts) > MAX_NETWORKS:
        raise InvalidNetwork(f"At most {MAX_NETWORKS} networks are allowed.")
    return list(dict.fromkeys(str(parse_network(text)) for text in texts))


def load_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return stored networks as objects."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def rejection_reason(address: str, allowed: Sequence[Network]) -> str:
    """Return why a request from an address is rejected, or an empty string if it is accepted."""
    if not allowed or _is_allowed(address, allowed):
        return ""
    return f"The request came from {address or 'an unknown address'}, which is not in the allowed networks."


def check_senders(subscription: Subscription, allowed_networks: Sequence[str]) -> None:
    """Raise WouldBlockSenders if these networks would have refused requests that were accepted within the last day."""
    since = timezone.now() - SENDERS_PERIOD
    newest = subscription.webhook_requests.order_by("-pk").values_list("remote_addr", "received_at", "outcome")
    senders = Counter(
        address
        for address, received_at, outcome in newest[:MAX_REQUESTS_READ]
        if received_at >= since and outcome != "rejected"
    )
    allowed = load_networks(allowed_networks)
    blocked = Counter({address: count for address, count in senders.items() if rejection_reason(address, allowed)})
    if not blocked:
        return
    named = [
        f"{count:,} from {address or 'an unknown address'}"
        for address, count in blocked.most_common(MAX_ADDRESSES_NAMED)
    ]
    if len(blocked) > len(named):
        named.append(f"the others from {len(blocked) - len(named)} more addresses")
    raise WouldBlockSenders(
        f"These networks would have refused {blocked.total():,} of the {senders.total():,} requests that were accepted "
        f"in the last 24 hours: {', '.join(named)}."
    )


def _is_allowed(address: str, allowed: Sequence[Network]) -> bool:
    try:
        caller = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A server that listens on :: sees IPv4 addresses in their mapped form.
    mapped = caller.ipv4_mapped if isinstance(caller, ipaddress.IPv6Address) else None
    return any((mapped or caller) in network or caller in network for network in allowed)
