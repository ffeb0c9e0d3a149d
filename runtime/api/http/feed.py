"""Watches that ask for the same are told the same: a feed makes each frame once, and hands it to all of them in rounds.

A watch that has come to the present enters the feed of its question. In a round each member gets all that it lacks in one
write, so that under load the rounds carry more and cost no more: a thousand writes take as long for five events as for one.
Nobody waits for anybody: a member that lets bytes pile up is let go, with the revision that it has come to; it goes on alone
from there, at its own speed, and enters again when it has come to the present. So a feed keeps nothing but the frames of the
round that is under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable

from reconcile.errors import ApiError
from reconcile.runtime.api.stored import Change
from reconcile.runtime.api.watching import Following

from .frames import Frames

BUFFER_BYTES_MAX = 64 << 10
"""What may wait in a connection's buffer before its watch is let go."""
PIECE_BYTES_MAX = 64 << 10
"""What a member gets in one write; a revision is never divided."""
_MEMBERS_A_STEP = 16  # some 1 ms of writes, then others have their turn
log = logging.getLogger(__name__)


class Member:
    """A watch's place in a feed."""

    __slots__ = ("at", "left", "over", "revision", "transport")

    def __init__(self, transport: asyncio.WriteTransport, at: int, revision: int) -> None:
        self.transport = transport
        self.at = at
        """The number of the first frame that it lacks."""
        self.revision = revision
        """All events up to here were told."""
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over = False
        """Whether the feed has ended, and with it all that there was to tell."""

    def leave(self) -> None:
        """Take no more."""
        if not self.left.done():
            self.left.set_result(None)


class Feed:
    """The changes of one question, from the present on. It lives as long as it has members."""

    def __init__(self, changes: Following, frames: Frames, *, bookmarks: bool, forget: Callable[[], None]) -> None:
        self.failed = False
        """Whether it ended with an error, which its members were told."""
        self._changes = changes
        self._frames = frames
        self._bookmarks = bookmarks
        self._forget = forget
        self._log: list[tuple[bytes, int]] = []
        """Frames and their revisions, from number `_first` on."""
        self._first = 0
        self._revision = changes.present or 0
        self._pieces: dict[int, tuple[bytes, int, int]] = {}
        """What a member gets that lacks frames from a number on; then the number it lacks next, and its revision."""
        self._members: dict[Member, None] = {}
        self._behind: deque[Member] = deque()
        """Whose turn is still to come in this round."""
        self._over = False
        self._news = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def catch_up(self) -> bool:
        """Take what is there already; whether that is everything up to the present."""
        self._tell(self._changes.taken())
        return self._changes.present is not None

    def enter(self, transport: asyncio.WriteTransport) -> Member:
        """Add a member, which has been told everything up to the present; `catch_up` comes right before."""
        member = Member(transport, self._end, self._changes.present or self._revision)
        self._members[member] = None
        if self._over:
            member.over = True
            member.leave()
        return member

    def remove(self, member: Member) -> None:
        """Let a member go; the last one ends the feed. Its `revision` is as far as it was told."""
        if member.at == self._end:
            member.revision = max(member.revision, self._changes.present or self._revision)
        del self._members[member]
        member.leave()
        if not self._members:
            self._forget()
            self._task.cancel()
            self._changes.end()

    @property
    def _end(self) -> int:
        return self._first + len(self._log)

    async def _run(self) -> None:
        try:
            async for newest in self._changes:
                self._tell((newest, *self._changes.taken()))
        except ApiError as error:
            self.failed = True
            self._append(self._frames.error(error), self._revision)
        except Exception:  # the outermost loop of this task: whoever watches finds its watch ended, and begins anew
            log.exception("feed failed")
        self._forget()
        self._over = self._news = True
        self._begin_round()

    def _tell(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._revision = change.revision
            if change.stored is not None:
                self._append(self._frames.event(change.type, change.stored, first=False), change.revision)
            elif self._bookmarks:
                self._append(self._frames.bookmark(change.revision, initial_end=False), change.revision)
        self._begin_round()

    def _append(self, frame: bytes, revision: int) -> None:
        self._log.append((frame, revision))
        self._pieces.clear()
        self._news = True

    def _begin_round(self) -> None:
        if self._news and not self._behind:
            self._news = False
            self._behind.extend(self._members)
            self._step()

    def _step(self) -> None:
        """Give some members what they lack; the others have their turn when the loop has seen to everybody else."""
        for _ in range(min(len(self._behind), _MEMBERS_A_STEP)):
            member = self._behind.popleft()
            if not member.left.done():
                self._give(member)
        if self._behind:
            asyncio.get_running_loop().call_soon(self._step)
        elif self._news:
            asyncio.get_running_loop().call_soon(self._begin_round)
        else:
            self._first = self._end
            self._log.clear()
            self._pieces.clear()

    def _give(self, member: Member) -> None:
        transport, end = member.transport, self._end
        while member.at < end:
            if transport.is_closing() or transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
                member.leave()
                return
            piece, member.at, member.revision = self._pieces.get(member.at) or self._piece(member.at)
            transport.write(piece)
        if self._over:
            member.over = True
            member.leave()

    def _piece(self, at: int) -> tuple[bytes, int, int]:
        """The frames from a number on, as a chunk of HTTP/1.1."""
        frames, size_bytes, revision = list[bytes](), 0, 0
        for frame, of_revision in self._log[at - self._first :]:
            if size_bytes >= PIECE_BYTES_MAX and of_revision != revision:
                break
            frames.append(frame)
            size_bytes += len(frame)
            revision = of_revision
        piece = b"%x\r\n%b\r\n" % (size_bytes, b"".join(frames))
        self._pieces[at] = found = (piece, at + len(frames), revision)
        return found


class Feeds:
    """The feeds of a server by their questions."""

    def __init__(self) -> None:
        self._feeds: dict[Hashable, Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def find(self, question: Hashable, changes: Following, frames: Frames, *, bookmarks: bool) -> Feed | None:
        """The feed of a question, for who was told all of `changes` up to the present; None where the feed lags.

        Where there is none yet, `changes` becomes the new one's; else they are ended.
        """
        feed = self._feeds.get(question)
        if feed is None:
            feed = Feed(changes, frames, bookmarks=bookmarks, forget=lambda: self._forget(question, feed))
            self._feeds[question] = feed
            return feed
        if not feed.catch_up():
            return None
        changes.end()
        return feed

    def _forget(self, question: Hashable, feed: Feed | None) -> None:
        if self._feeds.get(question) is feed:
            del self._feeds[question]
