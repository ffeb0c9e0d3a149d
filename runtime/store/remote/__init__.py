"""The store on a real etcd cluster: the same interface and promises as the embedded one, with others writing beside us.

`await EtcdStore.open(EtcdAddress.parse("etcd://h1:2379,h2:2379/prefix"), clock)`. Importing this package imports grpcio (the
`etcd` extra), so nobody does who does not need it.

    address             where the cluster is, and who we are there
    connection          calls: which endpoint, how long, again or not; what etcd's refusals mean
    keyspace            our values as etcd's messages and back, with every key below one prefix
    mirror, recent      what is below the prefix, in memory: index, recent past, watches
    feed                the one watch that keeps the mirror up to date, over reconnects and compaction
    store               the facade

How it works. The whole prefix is mirrored in memory, as a kube-apiserver does, so that reading costs nothing and a decoded
object rides along. A write goes to etcd and returns once the mirror shows it: one reads one's own writes. What others have
written shows up as soon as their events arrive; who must not miss any of it calls `catch_up`, which asks etcd for its
revision (one request for all who ask at a time) and waits until the mirror has come there.

Every write also puts the key `<prefix>/`, the *journal*: a number that only this write has, and its cause. The
mirror sees it in the same revision. So an answer that was lost on the way is found again by reading, never by writing twice,
and `cause(revision)` works whichever process wrote it.
"""

from .address import EtcdAddress
from .errors import AddressFormError, EtcdRefusal, UncertainWriteError, UnreachableError
from .store import EtcdStore, RemoteSettings

__all__ = [
    "AddressFormError", "EtcdAddress", "EtcdRefusal", "EtcdStore", "RemoteSettings", "UncertainWriteError", "UnreachableError",
]  # fmt: skip
