"""Lead connections of a listening socket to the site: `relay.py FD HOST PORT`.

The socket was made elsewhere and listens there; this process runs on a host of the
site, and so do the connections that it makes. A connection that begins as SOCKS 5 does
(RFC 1928) goes where it asks, every other one to HOST and PORT.
"""

import asyncio
import socket
import struct
import sys
from contextlib import suppress

SOCKS = b"\x05"
NO_LOGIN = b"\x05\x00"
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
GRANTED, UNREACHABLE, UNSUPPORTED = 0, 4, 7
CHUNK = 1 << 16


def main() -> None:
    """Relay until Ctrl-C."""
    handle, host, port = sys.argv[1:]
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(socket.socket(fileno=int(handle)), (host, int(port))))


async def serve(listening: socket.socket, target: tuple[str, int]) -> None:
    """Accept connections."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await lead(reader, writer, target)
        except (OSError, EOFError) as error:
            sys.stderr.write(f"not reached: {error}\n")
        finally:
            writer.close()

    server = await asyncio.start_server(relay, sock=listening)
    await server.serve_forever()


async def lead(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: tuple[str, int],
) -> None:
    """Find out where a connection is to go, and copy both ways until both are done."""
    first = await reader.read(1)
    if not first:
        return
    if first == SOCKS:
        there = await negotiate(reader, writer)
        first = b""
    else:
        there = await asyncio.open_connection(*target)
    far_reader, far_writer = there
    try:
        far_writer.write(first)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
    finally:
        far_writer.close()


async def negotiate(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Answer a SOCKS 5 client, and connect to where it asks."""
    await reader.readexactly((await reader.readexactly(1))[0])
    writer.write(NO_LOGIN)
    _, command, _, kind = await reader.readexactly(4)
    if kind == NAME:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    elif kind == IPV4:
        host = socket.inet_ntop(socket.AF_INET, await reader.readexactly(4))
    else:
        host = socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
    (port,) = struct.unpack("!H", await reader.readexactly(2))
    if command != CONNECT:
        reply(writer, UNSUPPORTED)
        raise OSError("a SOCKS client asked for more than a connection")
    try:
        there = await asyncio.open_connection(host, port)
    except OSError:
        reply(writer, UNREACHABLE)
        raise
    reply(writer, GRANTED)
    return there


def reply(writer: asyncio.StreamWriter, status: int) -> None:
    """Say how a SOCKS request ended."""
    writer.write(bytes([5, status, 0, IPV4]) + bytes(6))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one way, its end included."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


if __name__ == "__main__":
    main()
