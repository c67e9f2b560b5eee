"""Parsing and matching of allowed networks."""

from __future__ import annotations

import pytest

from subscriptions.lifecycle import ip_allowlist


@pytest.mark.parametrize(
    ("address", "allowed", "is_allowed"),
    [
        ("192.0.2.1", [], True),
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.3.1", ["192.0.2.0/24"], False),
        ("192.0.3.1", ["192.0.2.0/24", "192.0.3.1"], True),
        ("fd00::5", ["192.0.2.0/24", "fd00::/8"], True),
        ("2001:db8::5", ["fd00::/8"], False),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], True),
        ("::ffff:192.0.3.1", ["192.0.2.0/24"], False),
        ("::ffff:192.0.2.1", ["::ffff:0:0/96"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("a socket", ["0.0.0.0/0"], False),
    ],
)
def test_only_addresses_in_the_allowed_networks_are_allowed(address: str, allowed: list[str], is_allowed: bool) -> None:
    reason = ip_allowlist.rejection_reason(
        address, ip_allowlist.load_networks(ip_allowlist.normalize_networks(allowed))
    )
    assert (reason == "") is is_allowed
    assert is_allowed or (address or "an unknown address") in reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a network"),
        ("example.com", "is not a network"),
        ("192.0.2.0/33", "is not a network"),
        ("300.0.0.0/8", "is not a network"),
        ("192.0.2.1/24", "the network is 192.0.2.0/24"),
        ("fd00::1/8", "the network is fd00::/8"),
    ],
)
def test_invalid_network_is_explained(text: str, message: str) -> None:
    with pytest.raises(ip_allowlist.InvalidNetwork, match=message):
        ip_allowlist.normalize_networks([text])


def test_networks_are_stored_once_and_normalized() -> None:
    stored = ip_allowlist.normalize_networks(["192.0.2.0/255.255.255.0", " 192.0.2.0/24", "FD00::/8", "192.0.2.9"])
    assert stored == ["192.0.2.0/24", "fd00::/8", "192.0.2.9/32"]
    with pytest.raises(ip_allowlist.InvalidNetwork, match="At most"):
        ip_allowlist.normalize_networks([f"10.0.{number}.0/24" for number in range(ip_allowlist.MAX_NETWORKS + 1)])
