"""What a stream's events pass on their way to the client, one after the other; and all of it in one step. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.errors import Failure
from gateway.redaction.restore import RestoreFilter
from gateway.redaction.safe import SafeRequest
from gateway.shapes.shape import Shape
from gateway.stream.filters import UNREADABLE, Meter, StreamFilter
from gateway.stream.incoming import Incoming
from gateway.stream.sse import Event


def _through(filters: Sequence[StreamFilter], events: Sequence[Event], *, last: bool = False) -> Sequence[Event]:
    for stage in filters:
        if len(events) == 1 and not last:  # as they mostly come
            events = tuple(stage.feed(events[0]))
            continue
        out: list[Event] = []
        for event in events:
            out += stage.feed(event)
        if last:
            out += stage.flush()
        events = out
    return events


class Stages:
    """What a stream's events pass: the meter, the search of what the model writes, the restorer."""

    def __init__(
        self, meter: Meter, safe: SafeRequest, shape: Shape, *, json_text: bool, metered: StreamFilter | None = None
    ) -> None:  # fmt: skip
        self._meter, self._metered = meter, metered or meter
        self._keep = safe.keep
        self._search = safe.reply.stream(shape.runs(), json_text=json_text) if safe.reply is not None else None
        restorer = RestoreFilter(shape.runs(), safe.restore, json_text=json_text) if safe.restore else None
        self._restorers = () if restorer is None else (restorer,)
        # Whether bytes may not pass what stands behind the meter as they are; None: nothing does.
        self.looks = None if restorer is None else restorer.looks

    @property
    def wait(self) -> bool:
        """Whether anything may have to be waited for."""
        return self._search is not None or self._keep is not None

    def plain(self, events: Sequence[Event], *, last: bool = False) -> bytes:
        """What goes on to the client, where nothing is waited for."""
        return self._restored(_through((self._metered,), events, last=last), last=last)

    async def passed(self, events: Sequence[Event], *, last: bool = False) -> bytes:
        """What goes on to the client. Raises BlockedReply, AnalyzerFailure where replies are searched."""
        events = _through((self._metered,), events, last=last)
        if (keep := self._keep) is not None and (response_id := self._meter.response_id) is not None:
            self._keep = None
            await keep.under(response_id)
        if (search := self._search) is not None:
            events = [*await search.feed(events), *(await search.flush() if last else ())]
            search.passed = []
        return self._restored(events, last=last)

    async def farewell(self, error: Event) -> bytes:
        """The error that ends a stream, behind what was held back, unless that may not go on."""
        if (search := self._search) is None:
            return self._restored((error,), last=True)
        before, search.passed = search.passed, []
        try:
            rest = await search.feed((error,))
        except Failure:
            rest = [error]
        return self._restored([*before, *rest], last=True)

    def _restored(self, events: Sequence[Event], *, last: bool) -> bytes:
        if self._restorers:
            events = _through(self._restorers, events, last=last)
        return events[0].raw if len(events) == 1 else b"".join([event.raw for event in events])


def passage(
    incoming: Incoming, meter: Meter, stages: Stages, put: Callable[[bytes], bool]
) -> Callable[[bytes], bool]:  # fmt: skip
    """The way of a piece, from the provider's bytes to the client's, for as long as nothing on it waits: what
    `Upstream.flow` calls. False: the client takes no more for now. Raises ProviderBroken, ClientGone."""
    plain, read, looks = incoming.plain, meter.read, stages.looks

    def take(data: bytes) -> bool:
        lines = plain(data)
        if lines is None or (looks is not None and looks(data)):
            out = stages.plain(incoming.feed(data))
            return not out or put(out)
        # As it mostly is: whole events that pass as they came, unless the client did not ask for one.
        if len(lines) == 1:
            try:
                goes_on = read(lines[0])
            except UNREADABLE:
                goes_on = meter.unread(lines[0])
            return not goes_on or put(data)
        kept = [line for line in lines if meter.note(line)]
        return not kept or put(data if len(kept) == len(lines) else b"".join([b"data: %b\n\n" % line for line in kept]))

    return take
