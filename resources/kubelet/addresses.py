"""Pod addresses: one loopback address for each pod of a node, out of the node's range.

Any address of 127.0.0.0/8 can be bound without configuration and without being root, so replicas of one server do not
collide. Addresses are handed out round the range: one that was just given back is not used again at once, because
somebody may still route to it. What is taken is learnt from the sandboxes' labels and the pods' status after a restart.
"""

from __future__ import annotations

import ipaddress

from .errors import AddressesExhaustedError


class PodAddresses:
    """The addresses of one node."""

    def __init__(self, cidr: str) -> None:
        self._network = ipaddress.ip_network(cidr)
        self._next = 1
        self._owners: dict[str, str] = {}
        self._by_owner: dict[str, str] = {}

    def reserve(self, uid: str, address: str) -> bool:
        """Give `address` to the pod `uid` if it is in range and free (or the pod's already)."""
        try:
            inside = ipaddress.ip_address(address) in self._network
        except ValueError:
            return False
        if not inside or self._owners.get(address, uid) != uid or self._by_owner.get(uid, address) != address:
            return False
        self._owners[address], self._by_owner[uid] = uid, address
        return True

    def allocate(self, uid: str, wanted: str = "") -> str:
        """An address for the pod `uid`: the one it has, else `wanted` if that is free, else the next free one.

        Raises:
            AddressesExhaustedError: every address of the range is taken.
        """
        held = self._by_owner.get(uid)
        if held:
            return held
        if wanted and self.reserve(uid, wanted):
            return wanted
        size = self._network.num_addresses
        for _ in range(size):
            position, self._next = self._next, self._next + 1 if self._next + 1 < size - 1 else 1
            address = str(self._network[min(position, size - 1)])
            if address not in self._owners:
                self._owners[address], self._by_owner[uid] = uid, address
                return address
        raise AddressesExhaustedError(str(self._network))

    def release(self, uid: str) -> None:
        """Take the pod's address back; a repeat is no error."""
        address = self._by_owner.pop(uid, None)
        if address:
            del self._owners[address]
