"""The client's half of gRPC over HTTP/2, as much of it as one stream for ever needs.

One bidirectional call on one TCP connection, as an Envoy has it. By hand, and not by
`harness.http2`, because the clients of a bench must cost far less than the server they measure: a
message is some 10 µs here, and some 150 µs in grpc.aio. The headers of the answer are not looked
at: they end the call, or say nothing.

https://www.rfc-editor.org/rfc/rfc9113
"""

import socket
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4

_STREAM = 1
_WINDOW = (1 << 31) - 1
"""What the server may send unasked: all of a bench."""
_FRAME = 1 << 14
_HEAD = struct.Struct(">HBBBL")  # a length of three bytes, type, flags, stream
_READ = 1 << 18


class ConnectionLostError(Exception):
    """The server has ended the call or the connection."""


class Call:
    """One call of a method; the socket does not block."""

    def __init__(self, address: tuple[str, int], method: str) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.socket.connect_ex(address)
        self.received = 0
        """Bytes, frames and all."""
        self._in = b""
        self._body = b""
        self._unframed = b""  # messages that wait for the server's windows
        self._unsent = b""  # frames that wait for the socket
        self._window = {0: 65_535, _STREAM: 65_535}
        self._initial_window = 65_535
        self._unsent += (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            # INITIAL_WINDOW_SIZE and MAX_FRAME_SIZE
            + _frame(SETTINGS, 0, 0, struct.pack(">HLHL", 4, _WINDOW, 5, (1 << 24) - 1))
            + _frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", _WINDOW - 65_535))
            + _frame(HEADERS, END_HEADERS, _STREAM, _headers(address, method))
        )

    @property
    def wants_to_write(self) -> bool:
        """Whether `flush` must be called when the socket takes more."""
        return bool(self._unsent)

    def send(self, *messages: bytes) -> None:
        """Send messages, now or as soon as the socket and the server take them."""
        for message in messages:
            self._unframed += struct.pack(">BL", 0, len(message)) + message
        self.flush()

    def flush(self) -> None:
        """Send what waits, as much of it as can be."""
        while self._unframed and (room := min(*self._window.values(), _FRAME)) > 0:
            part, self._unframed = self._unframed[:room], self._unframed[room:]
            self._unsent += _frame(DATA, 0, _STREAM, part)
            for each in self._window:
                self._window[each] -= len(part)
        if self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError as error:
                raise ConnectionLostError(str(error)) from None
            self._unsent = self._unsent[sent:]

    def receive(self) -> list[bytes]:
        """Return the messages that have come, perhaps none.

        Raises:
            ConnectionLostError: there will be no more.
        """
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ConnectionLostError(str(error)) from None
        if not data:
            raise ConnectionLostError("the server has closed the connection")
        self.received += len(data)
        data, position = self._in + data, 0
        while len(data) - position >= 9:
            high, low, kind, flags, _ = _HEAD.unpack_from(data, position)
            end = position + 9 + (high << 8 | low)
            if end > len(data):
                break
            self._frame(kind, flags, data, position + 9, end)
            position = end
        self._in = data[position:]
        return self._messages()

    def close(self) -> None:
        """Close the connection, without a word."""
        self.socket.close()

    def _frame(self, kind: int, flags: int, data: bytes, start: int, end: int) -> None:
        stream = int.from_bytes(data[start - 4 : start], "big")
        if kind == DATA:
            self._body += data[start:end]
        elif kind == WINDOW_UPDATE:
            self._window[stream] += int.from_bytes(data[start:end], "big")
        elif kind == PING and not flags & ACK:
            self._unsent += _frame(PING, ACK, 0, data[start:end])
        elif kind == SETTINGS and not flags & ACK:
            for at in range(start, end, 6):
                name, value = struct.unpack_from(">HL", data, at)
                if name == 4:
                    self._window[_STREAM] += value - self._initial_window
                    self._initial_window = value
            self._unsent += _frame(SETTINGS, ACK, 0, b"")
        elif kind in (RST_STREAM, GOAWAY):
            raise ConnectionLostError(f"frame {kind} from the server: {data[start:end]!r}")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            raise ConnectionLostError(f"the server has ended the call: {data[start:end]!r}")

    def _messages(self) -> list[bytes]:
        if self._unsent or self._unframed:
            self.flush()
        body, position = self._body, 0
        messages = []
        while len(body) - position >= 5:
            end = position + 5 + int.from_bytes(body[position + 1 : position + 5], "big")
            if end > len(body):
                break
            messages.append(body[position + 5 : end])
            position = end
        if position:
            self._body = body[position:]
        return messages


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = len(payload)
    # three bytes of length, as two fields
    return struct.pack(">BHBBL", length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def _headers(address: tuple[str, int], method: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": f"{address[0]}:{address[1]}",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(text: str) -> bytes:
    # HPACK's literals without its table; none of ours reaches 127 bytes
    assert len(text) < 127, text
    return bytes((len(text),)) + text.encode()
