"""What a watch says, as bytes: one object for each rendering turns events, bookmarks and the last error into frames.

A frame is all that is sent of one event. Watches that ask for the same are told the same frames, so nothing in a frame may
depend on who reads it, but for the `first` of a Table. Another view is another subclass, another media type other `Lines`.
"""

from __future__ import annotations

from reconcile.clock import Clock
from reconcile.errors import ApiError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.stored import Stored

from .exchange import YAML
from .lines import Lines
from .negotiation import Rendering, not_acceptable
from .tables import Include, partial_object, table

END_OF_INITIAL = "k8s.io/initial-events-end"


class Frames:
    """Objects as they are."""

    first_differs = False
    """Whether the first event that a watch tells is another one than later events."""

    def __init__(self, kind: Kind, lines: Lines) -> None:
        self._kind = kind
        self._lines = lines

    @property
    def content_type(self) -> str:
        """The media type of the stream."""
        return self._lines.content_type

    def event(self, type_: str, stored: Stored, *, first: bool) -> bytes:
        """An object that was ADDED, MODIFIED or DELETED."""
        return self._lines.of(type_, stored)

    def bookmark(self, revision: int, *, initial_end: bool) -> bytes:
        """How far the watch has come."""
        metadata: Tree = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {END_OF_INITIAL: "true"}
        return self._lines.line("BOOKMARK", self._empty(metadata))

    def error(self, error: ApiError) -> bytes:
        """Why the watch ends."""
        return self._lines.line("ERROR", error.status())

    def _empty(self, metadata: Tree) -> Tree:
        """An object that says nothing but its metadata."""
        return {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata}


class TableFrames(Frames):
    """Each object as a Table of one row; only the first names the columns."""

    first_differs = True

    def __init__(self, kind: Kind, lines: Lines, version: str, include: Include, clock: Clock) -> None:
        super().__init__(kind, lines)
        self._version, self._include, self._clock = version, include, clock

    def event(self, type_: str, stored: Stored, *, first: bool) -> bytes:
        """See Frames."""
        metadata = {"resourceVersion": str(stored.revision)}
        tree = table(
            self._kind, (stored,), self._clock.now(), version=self._version, include=self._include, headers=first,
            metadata=metadata,
        )  # fmt: skip
        return self._lines.line(type_, tree)

    def _empty(self, metadata: Tree) -> Tree:
        row = Stored(self._kind, super()._empty({"name": "", **metadata}))
        own = {"resourceVersion": metadata["resourceVersion"]}
        return table(
            self._kind, (row,), self._clock.now(), version=self._version, include=self._include, headers=False, metadata=own
        )  # fmt: skip


class PartialFrames(Frames):
    """The metadata of each object."""

    def __init__(self, kind: Kind, lines: Lines, version: str) -> None:
        super().__init__(kind, lines)
        self._version = version

    def event(self, type_: str, stored: Stored, *, first: bool) -> bytes:
        """See Frames."""
        return self._lines.line(type_, partial_object(stored.tree, self._version))

    def _empty(self, metadata: Tree) -> Tree:
        return partial_object({"metadata": metadata}, self._version)


def frames_of(kind: Kind, rendering: Rendering, include: Include, clock: Clock, lines: Lines) -> Frames:
    """The frames of a rendering.

    Raises:
        NotAcceptableError: no watch is served in it.
    """
    if rendering.media == YAML or rendering.view == "PartialObjectMetadataList":
        raise not_acceptable(streams=not rendering.view)
    if rendering.view == "Table":
        return TableFrames(kind, lines, rendering.version, include, clock)
    if rendering.view == "PartialObjectMetadata":
        return PartialFrames(kind, lines, rendering.version)
    return Frames(kind, lines)
