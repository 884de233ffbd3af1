"""A receiver of syslog over TLS that has on disk what it has read before it closes a connection."""

from __future__ import annotations

import os
import socket
import ssl
import sys


def main(certificate: str, out: str, port: int) -> None:
    """Serve one connection after the other: `out` gets the content of each message, a line each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", port)) as server, open(out, "ab") as file:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            plain, _ = server.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    serve(connection, file)
            except OSError:
                continue


def serve(connection: ssl.SSLSocket, file) -> None:  # type: ignore[no-untyped-def]
    """Write each whole message until the sender closes."""
    waiting = b""
    while data := connection.recv(8192):
        waiting += data
        while b" " in waiting:
            length, _, rest = waiting.partition(b" ")
            if len(rest) < int(length):
                break
            message, waiting = rest[: int(length)], rest[int(length) :]
            file.write(message.split(b" ", 7)[7] + b"\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
