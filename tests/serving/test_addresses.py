"""Which addresses may be called for somebody who named them over the network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16", "192.0.2.1", "198.18.0.1",
        "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "2002:7f00:1::", "2002:808:808::", "2001:0:808:808::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
        "2606:4700::1111%eth0", "100::1", "5f00::1", "fec0::1",
    ],
)  # fmt: skip
def test_what_leads_inside_is_not_public(address: str) -> None:
    """Loopback, private, link-local and its metadata, multicast, documentation, and all that carries one of them."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"])
def test_what_is_out_there_is_public(address: str) -> None:
    """Ordinary addresses, and one behind NAT64, which is how a host without IPv4 reaches the world."""
    assert is_public(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "8.8.8.8 ", "8.8.8.8/32"]
)
def test_what_is_no_address_is_not_public(text: str) -> None:
    """Numbers that some resolvers take for an address are none."""
    assert not is_public(text)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_inside_another_is_as_private_as_by_itself(inside: IPv4Address) -> None:
    """Mapped, compatible, 6to4 and Teredo are never public; NAT64 is exactly when the address inside is."""
    number = int(inside)
    carriers = [number, (0xFFFF << 32) | number, (0x2002 << 112) | (number << 80), (0x20010000 << 96) | number]
    assert not any(is_public(str(IPv6Address(carrier))) for carrier in carriers)
    assert is_public(str(IPv6Address((0x64FF9B << 96) | number))) == is_public(str(inside))


@given(st.ip_addresses())
def test_nothing_private_is_public(address: IPv4Address | IPv6Address) -> None:
    """Whatever the standard library calls private, local, multicast or reserved is not public here."""
    told = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_unspecified,
    )
    assert not (is_public(str(address)) and any(told))
