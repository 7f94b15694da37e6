"""What the load's clients fetch from: `python -m earwitness.lab.load.server ADDRESS PORT` on a host of the lab.

A request is one line, `BYTES BITS_A_SECOND` (0: as fast as it goes); the answer is so many bytes. It ends with its
standard input, so with the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import sys

NICENESS = 5
"""Of the load's own processes: they are not to be in the way of what is measured."""
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
        return  # the client is gone, or is none of ours
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
