"""The etcd v3 gRPC face of the store: to anyone who asks, it is an etcd of one member.

`await EtcdServer.serve(store, clock, "127.0.0.1:2379")`. Importing this package imports aetcd's messages, and grpcio with
them (the `etcd` extra), so nobody does who does not serve.

    server, methods     the services on a port; names to functions, errors to status codes
    http2               gRPC on asyncio, without grpcio
    kv, watching, leases, cluster, maintenance, auth, concurrency, health      a service each
    member              who we are, alarms, quota
    access, guards      who calls, and what each method asks of its caller
    accounts, permissions, passwords, tokens, jwt      users and roles, and what they know and may do
    tls                 certificates, and who may reach the port
    snapshots, bolt     the whole history in the file format of a real etcd, both ways
    wire, requests, descriptors, errors     bytes out, messages in, messages that aetcd lacks, refusals

The behaviour is etcd 3.5.30's, options, codes and texts. What differs, and why:

- Auth: passwords are scrypt hashes. What etcd 3.5.33 guards is guarded; Defragment, Hash, HashKV and
  Snapshot are refused with the code and text of the others, as in 3.6. Whoever is in this process passes no guard.
- Members: one. Adding and removing is refused; raft indexes are the revision, the term is 2.
- HashKV is equal to etcd's at any revision that is not compacted; etcd also remembers the hashes of its last ten
  compactions. Hash is a number of ours: etcd hashes its file.
- Snapshot is in etcd's own form: `etcdutl snapshot restore` makes a real etcd of it, and `reconcile store restore` a store of
  either's. Causes and times, alarms, and passwords that the other side cannot check stay behind.
- Defragment blocks nobody, and HTTP (metrics, health, the JSON gateway) is not served on the port.
- Many events that wait for one slow watch come in one response of whole revisions, as in etcd's catch-up.
- RangeStream (3.7) is unknown, as in 3.5.
"""

from .errors import AddressError, OpenAddressError, TlsFileError
from .member import VERSION, EtcdSettings
from .server import EtcdServer
from .tls import TlsFiles

__all__ = ["VERSION", "AddressError", "EtcdServer", "EtcdSettings", "OpenAddressError", "TlsFileError", "TlsFiles"]
