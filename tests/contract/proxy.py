"""A TCP proxy that a test can break: cut what is open, take nobody new, or let requests through and keep the answers."""

from __future__ import annotations

import asyncio
from typing import Self


class Proxy:
    """Between a client and `target` ("host:port"). Use as an async context manager."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.open = True
        """Whether new connections are taken."""
        self.answering = asyncio.Event()
        """Cleared: what the server says is kept from the client."""
        self.answering.set()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End all connections, as a cable that is pulled does."""
        for writer in self._writers:
            if writer.transport is not None:
                writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        there, out = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, out}
        for source, target, held in ((reader, out, False), (there, writer, True)):
            task = asyncio.create_task(self._carry(source, target, held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, held: bool) -> None:
        try:
            while data := await source.read(1 << 16):
                if held:
                    await self.answering.wait()
                target.write(data)
                await target.drain()
        except OSError:
            return
        finally:
            target.transport.abort()
            self._writers.discard(target)
