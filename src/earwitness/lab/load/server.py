"""The server of the load's clients: `python -m earwitness.lab.load.server ADDRESS PORT` on a lab host.

A request is one line, `BYTES BITS_A_SECOND` (0: as fast as possible); the response is that many bytes. The server ends
when standard input closes, and so with the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import sys

NICENESS = 5
"""Nice value of the load's processes, so that they do not disturb the measurement."""
_BLOCK = bytes(16_384)
_STEP_S = 0.05


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    writer.transport.set_write_buffer_limits(high=65_536)
    try:
        while line := await reader.readline():
            left, bits_a_second = (int(word) for word in line.split())
            block = _BLOCK if not bits_a_second else _BLOCK[: max(512, int(bits_a_second * _STEP_S / 8))]
            due = asyncio.get_running_loop().time()
            while left > 0:
                piece = block[:left]
                writer.write(piece)
                await writer.drain()
                left -= len(piece)
                if bits_a_second:
                    due += len(piece) * 8 / bits_a_second
                    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
    except (OSError, ValueError):
        return  # the client has disconnected, or is not one of the load's
    finally:
        writer.close()


async def _main(address: str, port: int) -> None:
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with await asyncio.start_server(serve_one, address, port, backlog=256):
        print('{"event": "ready"}', flush=True)
        await commands.read()


if __name__ == "__main__":
    os.nice(NICENESS)
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
