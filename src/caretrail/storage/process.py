"""The writer as a process of its own: it and the server each have a core and an interpreter.

The two speak over a pair of sockets: a length in four bytes, then a message. The child ends with
its parent, however that ends: when the socket closes, it finishes the commit at hand and goes.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, cast

import msgspec

from caretrail.errors import ConfigurationError, Error, StoreError
from caretrail.storage import messages as say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LENGTH_BYTES: Final = 4
_START_SECONDS: Final = 120.0  # Recovery of a log that was cut off hashes at most 65,536 leaves.
_STOP_SECONDS: Final = 60.0
_GARBAGE_THRESHOLD: Final = 50_000
_GONE: Final = "the store's writer has ended: send the event again"


class Writer(Protocol):
    """What the child does; it has opened the log, which was recovery."""

    def state(self) -> say.State:
        """Return the log as it is in the store, asked anew."""

    def answer(self, question: say.Question) -> say.Answer:
        """Do what is asked; an error is an answer, too."""


class Link:
    """The parent's end. Questions may be under way together; they are answered in their order."""

    def __init__(
        self, module: str, options: msgspec.Struct, *, name: str, keep_open: Sequence[int] = ()
    ) -> None:
        """Start the child: the `main` of a module, which calls `serve`, and reads the options.

        The list of processes shows its `name`. It keeps the descriptors open as long as it lives.
        """
        self._code = f"from {module} import main; main()"
        # On its standard input nobody else sees them: they may name a password.
        self._options = msgspec.json.encode(options)
        self._name, self._keep_open = name, tuple(keep_open)
        self._connecting = asyncio.Lock()
        self._answers: _Answers | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.state = self._start()

    def _start(self) -> say.State:
        """Start a child; return how it found the log, or raise its error."""
        ours, theirs = socket.socketpair()
        number = theirs.fileno()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", self._code, str(number), self._name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(number, *self._keep_open),
        )
        theirs.close()
        assert self._process.stdin is not None
        with suppress(OSError), self._process.stdin as options:  # Who has gone already says why.
            options.write(self._options)
        self._socket = ours
        ours.settimeout(_START_SECONDS)
        answer = _received(ours)
        if isinstance(answer, say.State):
            ours.setblocking(False)
            return answer
        self._end()
        raise answer.raised() if isinstance(answer, say.Failed) else StoreError(_GONE)

    def _again(self) -> say.State:
        try:
            return self._start()
        except ConfigurationError as error:
            # It could be opened before: whoever sends an event may send it again.
            raise StoreError(str(error)) from error

    async def ask(self, question: say.Question) -> say.Answer:
        """Return the answer; raise the error that it is, or StoreError when nobody answers."""
        answers = self._answers
        if answers is None or answers.gone.is_set():
            answers = await self._connected()
        answer = await answers.ask(say.encode(question))
        if isinstance(answer, say.Failed):
            raise answer.raised()
        return answer

    async def _connected(self) -> _Answers:
        async with self._connecting:
            if self._answers is None or self._answers.gone.is_set():
                if self._process is None:
                    self.state = await asyncio.to_thread(self._again)
                loop = asyncio.get_running_loop()
                _, self._answers = await loop.create_connection(
                    lambda: _Answers(self._lost), sock=self._socket
                )
            return self._answers

    def _lost(self) -> None:
        self._answers = None
        self._end()

    def _end(self) -> None:
        """Let go of the child; one that hangs is killed, which a commit survives."""
        process, self._process = self._process, None
        # The loop may hold it open for a moment yet: the child is told now.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if process is None:
            return
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end(self) -> None:
        """Let go of the child at once, where no question was asked yet."""
        self._end()

    async def close(self) -> None:
        """Ask the child to write a last checkpoint, and wait until it has gone."""
        if self._process is None:
            return
        with suppress(StoreError):  # A close that fails loses nothing: the next start recovers.
            await self.ask(say.Close())
        if self._answers is not None:
            await self._answers.close()


class _Answers(asyncio.Protocol):
    """The stream of answers, each for the question that waits longest."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self._waiting: deque[asyncio.Future[say.Answer]] = deque()
        self._data = bytearray()
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass of it.
        self._transport = cast("asyncio.WriteTransport", transport)

    async def ask(self, data: bytes) -> say.Answer:
        """Send a question, and return its answer; nobody else's is kept waiting by a caller's end."""
        if self.gone.is_set():
            raise StoreError(_GONE)
        answer: asyncio.Future[say.Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._transport.write(len(data).to_bytes(_LENGTH_BYTES) + data)
        return await answer

    async def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()
        await self.gone.wait()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._data[:_LENGTH_BYTES])
            if len(self._data) < end:
                return
            answer = say.read_answer(bytes(self._data[_LENGTH_BYTES:end]))
            del self._data[:end]
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(answer)

    def connection_lost(self, _: Exception | None) -> None:
        self.gone.set()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(StoreError(_GONE))
        self._on_lost()


def serve(open_writer: Callable[[bytes], Writer]) -> None:
    """Be the child: open the log by the options, then answer until the parent is gone."""
    # The terminal and the service manager signal the whole group: the parent says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        try:
            writer = open_writer(sys.stdin.buffer.read())
        except Error as error:
            _send(parent, say.Failed(type(error).__name__, str(error)))
            return
        # Events are structures without cycles: looking for cycles among them finds nothing.
        gc.freeze()
        gc.set_threshold(_GARBAGE_THRESHOLD, 20, 100)
        answer: say.Answer = writer.state()
        try:
            while True:
                _send(parent, answer)
                answer = writer.answer(say.read_question(_read(parent)))
        except (EOFError, OSError):
            return  # The parent is gone.


def _send(end: socket.socket, message: say.Answer) -> None:
    data = say.encode(message)
    end.sendall(len(data).to_bytes(_LENGTH_BYTES) + data)


def _received(end: socket.socket) -> say.Answer | None:
    try:
        return say.read_answer(_read(end))
    except (EOFError, OSError):
        return None


def _read(end: socket.socket) -> bytes:
    return _exactly(end, int.from_bytes(_exactly(end, _LENGTH_BYTES)))


def _exactly(end: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        got = end.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    return bytes(data)
