"""A connection to the machine that invited us, and to no other: address, TLS, and what both say first."""

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
    """The answering side knows us, and does not serve us: the text says why."""


@dataclass(frozen=True)
class Connection:
    """One connection of a session."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    hello: Hello
    """What the other side said of itself."""
    session: str
    """What it calls the session."""
    they_have: int
    """How many of our messages it has received."""
    local_address: str
    """Our own address on the way there."""


class Connector:
    """Makes the connections of one session, one after the other."""

    def __init__(self, address: SocketAddress, invitation: Invitation) -> None:
        self.address = address
        self._invitation = invitation
        self._context = client_context(invitation)
        self._numeric: SocketAddress | None = None

    @property
    def known_addresses(self) -> set[str]:
        """The other machine's address, as it was given and as a number once it is known."""
        return {self.address[0], *(self._numeric or ())[:1]}

    async def connect(self, session: str, received: int) -> Connection:
        """Connect and introduce ourselves, as the caller of a session (empty: of a new one) that `received` so many
        messages. `Refused`, or `OSError` (`TimeoutError` among them) when it fails.
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
                    happened = f"it closed the channel on seeing our certificate ({error})"
                    raise Refused(happened) from error
                if "refused" in reply:
                    raise Refused(fit(str(reply["refused"]), LONGEST_TEXT))
                return _connection(reply, reader, writer)
            except BaseException:
                writer.transport.abort()
                raise

    async def _handshake(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection to the one that invited us, and to no other."""
        loop = asyncio.get_running_loop()
        connection = network_socket()
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, await self._resolved())
        except BaseException:
            connection.close()
            raise
        try:  # from now on the socket is the transport's, which closes it, also when this fails
            reader, writer = await asyncio.open_connection(
                sock=connection,
                ssl=self._context,
                server_hostname="earwitness",
                limit=LONGEST_LINE,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except ssl.SSLCertVerificationError as error:
            raise Refused("it showed another certificate than the invitation's; nothing was sent to it") from error
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if not is_pinned(tls.getpeercert(binary_form=True), self._invitation.server_certificate):
            writer.transport.abort()
            raise Refused("it showed another certificate than the invitation's; nothing was sent to it")
        return reader, writer

    async def _resolved(self) -> tuple[str, int]:
        """Where it is, asked for once: with the network that is lost meanwhile, names are too."""
        if self._numeric is not None:
            return self._numeric
        host, port = self.address
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
        except socket.gaierror as error:
            remedy = "give its IP address" if in_isolated_network() else "see that the name is right"
            raise InputError("finding the address of", host, error.strerror, remedy) from error
        self._numeric = str(found[0][4][0]), port
        return self._numeric


def _connection(reply: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection:
    """Raises `ProtocolError` for a reply that is none."""
    they_have, session = reply.get("received"), reply.get("session")
    if type(they_have) is not int or not isinstance(session, str):
        raise ProtocolError("the other side does not say where the call stands")
    return Connection(reader, writer, Hello.read(reply), session, they_have, str(writer.get_extra_info("sockname")[0]))
