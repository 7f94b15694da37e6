"""Who is let in, whom we speak to, and what nobody else ever reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.remote.answer import Answerer, open_listener
from earwitness.remote.answering import Answering
from earwitness.remote.certificates import AnswerKeys, Identity, Invitation, client_context, make_identity
from earwitness.remote.client import RemoteClient, parse_address
from earwitness.remote.machine import Machine
from earwitness.remote.service import make_answer_keys
from earwitness.remote.store import CallStore

Address = tuple[str, int]


@asynccontextmanager
async def answering(keys: AnswerKeys, folder: Path) -> AsyncIterator[tuple[Address, Answerer]]:
    answering = Answering(machine=Machine("there", "", "", ""), store=CallStore(folder), epoch_offset_ns=5)
    answerer = Answerer(keys, answering)
    listener = open_listener("127.0.0.1", 0)
    serving = asyncio.create_task(answerer.serve(listener))
    try:
        yield listener.getsockname(), answerer
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()


def test_both_sides_know_each_other_and_speak(tmp_path: Path) -> None:
    keys, invitation = AnswerKeys.make("")

    async def scene() -> None:
        async with (
            answering(keys, tmp_path / "store") as (address, _),
            RemoteClient.connect(address, invitation) as remote,
        ):
            assert remote.hello.name == "there"
            assert remote.hello.interface == "lo"
            assert remote.hello.epoch_offset_ns == 5
            await remote.ask("begin", call_id="call-1")
            await remote.ask("speech", blob=b"x" * 300_000)
            (files, _) = await remote.ask("files")
            assert files == {"speech.wav": 300_000}
            await remote.fetch("speech.wav", tmp_path / "speech.wav")
            assert (tmp_path / "speech.wav").read_bytes() == b"x" * 300_000
            for name in ("../call-1/speech.wav", "/etc/passwd", "..", ".hidden"):
                with pytest.raises(InputError):
                    await remote.fetch(name, tmp_path / "stolen")
            with pytest.raises(InputError, match="not a device of this call"):
                await remote.ask("capture", child=9, interface="eth0")
            with pytest.raises(InputError, match="no such request"):
                await remote.ask("run", argv=["sh"])

    asyncio.run(scene())
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


def test_one_caller_at_a_time(tmp_path: Path) -> None:
    keys, invitation = AnswerKeys.make("")

    async def scene() -> None:
        async with answering(keys, tmp_path) as (address, _):
            async with RemoteClient.connect(address, invitation) as remote:
                await remote.ask("begin", call_id="mine")
                with pytest.raises(CallFailure, match="busy with call mine") as refused:
                    async with RemoteClient.connect(address, invitation):
                        pass
                assert refused.value.outcome is Outcome.REMOTE_REFUSED
            async with RemoteClient.connect(address, invitation):
                pass

    asyncio.run(scene())


def forgeries(keys: AnswerKeys) -> list[Identity]:
    """Others, one of them with the right name, and one whose certificate the right key of another pair signed."""
    return [make_identity("somebody"), make_identity("earwitness answer"), make_identity("earwitness call")]


def test_another_server_certificate_is_refused_and_hears_nothing(tmp_path: Path) -> None:
    keys, invitation = AnswerKeys.make("")

    async def scene(server: Identity) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for name, text in (("certificate.pem", server.certificate), ("key.pem", server.key)):
            (tmp_path / name).write_text(text)
        context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
        heard = bytearray()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                heard.extend(await reader.read(10_000))
            writer.close()

        impostor = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
        with pytest.raises(CallFailure, match="its certificate is not the invitation's; nothing was sent") as refused:
            async with RemoteClient.connect(impostor.sockets[0].getsockname(), invitation):
                pass
        assert refused.value.outcome is Outcome.REMOTE_REFUSED
        await asyncio.sleep(0.1)
        impostor.close()
        return bytes(heard)

    for server in forgeries(keys):
        assert asyncio.run(scene(server)) == b""


def test_another_client_certificate_or_none_is_refused_before_anything_is_said(tmp_path: Path) -> None:
    keys, invitation = AnswerKeys.make("")

    async def with_certificate(other: Identity) -> int:
        forged = Invitation("", invitation.server_certificate, other.certificate, other.key)
        async with answering(keys, tmp_path) as (address, answerer):
            with pytest.raises(CallFailure, match="it rejected our certificate") as refused:
                async with RemoteClient.connect(address, forged):
                    pass
            assert refused.value.outcome is Outcome.REMOTE_REFUSED
            return answerer.strangers

    async def without() -> tuple[bytes, int]:
        async with answering(keys, tmp_path) as (address, answerer):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(cadata=invitation.server_certificate)
            said = b""
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="x")
                writer.write(b'{"earwitness": 1, "session": "", "received": 0}\n')
                said = await reader.read(1000)
            await asyncio.sleep(0.1)
            return said, answerer.strangers

    for other in forgeries(keys):
        assert asyncio.run(with_certificate(other)) == 1
    assert asyncio.run(without()) == (b"", 1)
    assert not list(tmp_path.iterdir())


def test_nobody_there_is_told_as_such() -> None:
    _, invitation = AnswerKeys.make("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = taken.getsockname()

        async def scene() -> None:
            async with RemoteClient.connect(address, invitation):
                pass

        with pytest.raises(CallFailure) as lost:
            asyncio.run(scene())
    assert lost.value.outcome is Outcome.REMOTE_LOST


def test_keys_are_for_their_owner_alone_and_shown_nowhere(tmp_path: Path) -> None:
    path = make_answer_keys(tmp_path / "keys", "192.0.2.7:7717")
    for name in ("server.key", "invitation.json"):
        assert stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) == 0o600
    keys, invitation = AnswerKeys.read(tmp_path / "keys"), Invitation.read(path)
    assert invitation.address == "192.0.2.7:7717"
    assert keys.server.certificate == invitation.server_certificate
    for shown in (repr(keys), repr(invitation), str(invitation)):
        assert "PRIVATE" not in shown
    client_context(invitation)
    with pytest.raises(InputError, match="File exists"):
        make_answer_keys(tmp_path / "keys")
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        Invitation.read(path)
    (tmp_path / "keys" / "server.key").chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        AnswerKeys.read(tmp_path / "keys")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"earwitness_invitation": 2}', '{"earwitness_invitation": 1, "x": 1}']
)
def test_what_is_no_invitation(tmp_path: Path, text: str) -> None:
    path = tmp_path / "invitation.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InputError, match="reading the invitation"):
        Invitation.read(path)


def test_addresses() -> None:
    assert parse_address("192.0.2.7") == ("192.0.2.7", 7717)
    assert parse_address("voice.example.org:443") == ("voice.example.org", 443)
    for text in ("", ":7717", "host:", "host:0", "host:70000", "host:x"):
        with pytest.raises(InputError):
            parse_address(text)
