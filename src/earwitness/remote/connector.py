"""A connection to the machine that invited us, and to no other: address resolution, TLS, and hello."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass

from earwitness.errors import InputError
from earwitness.netns.egress import in_isolated_network, network_socket
from earwitness.netns.host import SocketAddress
from earwitness.remote.answer import GOODBYE_S, HANDSHAKE_S, PROTOCOL
from earwitness.remote.certificates import Invitation, client_context, is_pinned
from earwitness.remote.channel import LONGEST_LINE, Message, ProtocolError, encode, read
from earwitness.remote.hello import Hello
from earwitness.untrusted import LONGEST_TEXT, fit


class Refused(Exception):
    """The answering side refused the session; the text says why."""


@dataclass(frozen=True)
class Connection:
    """One connection of a session."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    hello: Hello
    """The other side's hello."""
    session: str
    """The other side's name for the session."""
    they_have: int
    """How many of our messages it has received."""
    local_address: str
    """Our own address on the route to it."""


class Connector:
    """Makes the connections of one session, one after the other."""

    def __init__(self, address: SocketAddress, invitation: Invitation) -> None:
        self.address = address
        self._invitation = invitation
        self._context = client_context(invitation)
        self._numeric: SocketAddress | None = None

    @property
    def known_addresses(self) -> set[str]:
        """The remote machine's address as given and, once resolved, as a number."""
        return {self.address[0], *(self._numeric or ())[:1]}

    async def connect(self, session: str, received: int) -> Connection:
        """Connect and send our hello for a session (empty: a new one); `received` counts its messages so far.

        Raises `Refused`, or `OSError` (including `TimeoutError`).
        """
        async with asyncio.timeout(HANDSHAKE_S):
            reader, writer = await self._handshake()
            try:
                writer.write(encode({"earwitness": PROTOCOL, "session": session, "received": received}))
                try:
                    reply, _ = await read(reader)
                except OSError as error:
                    if session:
                        raise
                    happened = f"it rejected our certificate ({error})"
                    raise Refused(happened) from error
                if "refused" in reply:
                    raise Refused(fit(str(reply["refused"]), LONGEST_TEXT))
                return _connection(reply, reader, writer)
            except BaseException:
                writer.transport.abort()
                raise

    async def _handshake(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Make a TLS connection to the machine that invited us, and to no other."""
        loop = asyncio.get_running_loop()
        connection = network_socket()
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, await self._resolved())
        except BaseException:
            connection.close()
            raise
        try:  # from now on the transport owns the socket and closes it, also on failure
            reader, writer = await asyncio.open_connection(
                sock=connection,
                ssl=self._context,
                server_hostname="earwitness",
                limit=LONGEST_LINE,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except ssl.SSLCertVerificationError as error:
            raise Refused("its certificate is not the invitation's; nothing was sent to it") from error
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if not is_pinned(tls.getpeercert(binary_form=True), self._invitation.server_certificate):
            writer.transport.abort()
            raise Refused("its certificate is not the invitation's; nothing was sent to it")
        return reader, writer

    async def _resolved(self) -> tuple[str, int]:
        """Resolve the address, once: if the network fails during the call, so does name resolution."""
        if self._numeric is not None:
            return self._numeric
        host, port = self.address
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
        except socket.gaierror as error:
            remedy = "give its IP address" if in_isolated_network() else "check the name"
            raise InputError("finding the address of", host, error.strerror, remedy) from error
        self._numeric = str(found[0][4][0]), port
        return self._numeric


def _connection(reply: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection:
    """Read the reply. Raises `ProtocolError` if it is malformed."""
    they_have, session = reply.get("received"), reply.get("session")
    if type(they_have) is not int or not isinstance(session, str):
        raise ProtocolError("the other side does not report the state of the call")
    return Connection(reader, writer, Hello.read(reply), session, they_have, str(writer.get_extra_info("sockname")[0]))
