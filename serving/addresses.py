"""Which addresses of the internet are public: only those may be called for somebody who named them over the network.

The lists are IANA's registries of special-purpose addresses, written out: the standard library's `is_global` differs
from one patch release to the next, and says yes to addresses that carry another one inside. An IPv6 address that
stands for an IPv4 one is refused whatever it stands for, but for NAT64's own prefix: where that is how a host without
IPv4 reaches the world, the address inside decides.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_V4_SPECIAL = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux takes it for loopback
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' own, and some clouds' metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host of each machine, in a public range
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols, and one cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_V6_GLOBAL = IPv6Network("2000::/3")
_V6_SPECIAL = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols, Teredo among them, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_V4_BITS = 0xFFFFFFFF


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; of names, `localhost` alone is known to be one."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether the address, as a resolver writes it, is one of the public internet; no for what is no address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return _v4_is_public(parsed) if isinstance(parsed, IPv4Address) else _v6_is_public(parsed)


def _v4_is_public(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _V4_SPECIAL)


def _v6_is_public(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return _v4_is_public(IPv4Address(int(address) & _V4_BITS))
    return address.is_global and address in _V6_GLOBAL and not any(address in network for network in _V6_SPECIAL)
