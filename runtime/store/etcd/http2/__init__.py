"""A server of gRPC over HTTP/2, on asyncio: what an etcd's face needs of it, and nothing else.

grpcio's asyncio server spends some 350 us on a call, most of it handing steps from its polling thread to the loop. Here a
call costs what its bytes cost: header blocks that come again and again are decoded once, a small answer is one write with
those of other calls of the same step, and there is no thread.

    server          listens, with or without TLS, and ends in order
    connection      frames in: what each means, limits, and the peer's mistakes
    stream          one call: its messages, flow control of both directions, how it ends
    hpack, huffman  header blocks
    frames          the layout of frames, and the few blocks that are ever sent

Limits: no server push, no priorities, no compressed messages (etcd's clients send none), and a deadline is the client's own
matter: it resets the stream.

Source: RFC 9113 (HTTP/2), RFC 7541 (HPACK), https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from .server import Http2Server

__all__ = ["Http2Server"]
