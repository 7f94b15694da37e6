"""Kamailio as the lab's SIP server: a digest registrar and record-routing proxy, run on a host for one call or many."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.phone.media import bind_udp
from earwitness.phone.rtpengine import RtpEngine
from earwitness.phone.service import end_service, probe_until

DOMAIN = "earwitness.test"
_START_TIMEOUT_S = 15.0
_SHARED_MEMORY_MB, _PRIVATE_MEMORY_MB = 16, 4
_MODULE_FOLDERS = ("lib/*/kamailio/modules", "lib*/kamailio/modules")
"""Relative to /usr: per architecture on Debian; other distributions."""

_CONFIGURATION = """\
#!KAMAILIO
# Written by Earwitness for one run: digest registrar and record-routing proxy over UDP, no media.
debug=1
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:{address}:{port}
alias="{domain}"
mpath="{modules}"
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
loadmodule "htable.so"
{media_setup}modparam("usrloc", "db_mode", 0)
modparam("rr", "enable_full_lr", 1)
modparam("htable", "htable", "users=>size=6;")
modparam("auth", "nonce_expire", 300)

# The table of users: name -> MD5(name:realm:password), which pv_auth_check takes as it is (flag 1).
event_route[htable:mod-init] {{
{users}}}

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    if (has_totag()) {{
        if (loose_route()) {{
            {relay_media}
            t_relay();
            exit;
        }}
        if (is_method("ACK")) {{
            if (t_check_trans()) {{ t_relay(); }}
            exit;
        }}
        sl_send_reply("404", "Not Here");
        exit;
    }}
    t_check_trans();
    if (is_method("OPTIONS") && $rU == $null) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("REGISTER")) {{
        if ($au == $null || $sht(users=>$au) == $null || !pv_www_authenticate("{domain}", "$sht(users=>$au)", "1")) {{
            www_challenge("{domain}", "1");
            exit;
        }}
        if ($au != $tU) {{ sl_send_reply("403", "Not Your Name"); exit; }}
        consume_credentials();
        if (!save("location")) {{ sl_reply_error(); }}
        exit;
    }}
    if (is_method("INVITE")) {{
        if ($au == $null || $sht(users=>$au) == $null || !pv_proxy_authenticate("{domain}", "$sht(users=>$au)", "1")) {{
            proxy_challenge("{domain}", "1");
            exit;
        }}
        consume_credentials();
        record_route();
    }}
    if (!lookup("location")) {{ sl_send_reply("480", "Temporarily Unavailable"); exit; }}
    {relay_media}
    if (!t_relay()) {{ sl_reply_error(); }}
}}
{media_routes}"""

_MEDIA_SETUP = """\
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "{control}")
"""
_MEDIA_ROUTES = """
route[RELAY] {
    t_on_reply("ANSWER");
    t_on_failure("OVER");
    rtpengine_manage("replace-origin replace-session-connection ICE=remove");
}
onreply_route[ANSWER] {
    rtpengine_manage("replace-origin replace-session-connection ICE=remove");
}
failure_route[OVER] {
    rtpengine_delete();
}
"""


@dataclass(frozen=True)
class Kamailio:
    """A running server."""

    address: str
    port: int
    domain: str
    log: Path


def kamailio_config(
    address: str, port: int, domain: str, users: Mapping[str, str], modules: str, relay: RtpEngine | None = None
) -> str:
    """Return Kamailio's configuration; it holds digests of the passwords (HA1, RFC 7616 3.4.2), never a password."""
    lines = ""
    for user, password in users.items():
        digest = hashlib.md5(f"{user}:{domain}:{password}".encode(), usedforsecurity=False).hexdigest()
        lines += f'    $sht(users=>{user}) = "{digest}";\n'
    return _CONFIGURATION.format(
        address=address,
        port=port,
        domain=domain,
        users=lines,
        modules=modules,
        media_setup=_MEDIA_SETUP.format(control=relay.control) if relay else "",
        relay_media="route(RELAY);" if relay else "",
        media_routes=_MEDIA_ROUTES if relay else "",
    )


@asynccontextmanager
async def start_kamailio(
    host: Host,
    state: Path,
    users: Mapping[str, str],
    *,
    address: str = "",
    port: int = 5060,
    domain: str = DOMAIN,
    relay: RtpEngine | None = None,
) -> AsyncIterator[Kamailio]:
    """Run Kamailio on `host` at `address` (empty: the host's own), with its files under `state`.

    `users` maps names to passwords. With a `relay`, the media of every call pass through it. The configuration file is
    0600 and removed once Kamailio runs; the log stays. Raises CallFailure: TOOL_MISSING, PORT_TAKEN, or LAB_FAILED with
    the first error in its log.
    """
    program, modules = _found()
    address = address or host.address
    with host.inside():  # it binds with SO_REUSEADDR and would share a port that is in use
        bind_udp(address, port, "kamailio").close()
    state.mkdir(parents=True, exist_ok=True)
    file, log, pid = state / "kamailio.cfg", state / "kamailio.log", state / "kamailio.pid"
    pid.unlink(missing_ok=True)  # a stale one names process 1, which the next Kamailio would take for another instance
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(kamailio_config(address, port, domain, users, modules, relay))
    argv = [program, "-DD", "-E", "-f", str(file), "-Y", str(state), "-P", str(pid)]
    argv += ["-m", str(_SHARED_MEMORY_MB), "-M", str(_PRIVATE_MEMORY_MB)]
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as messages:
            process = host.popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                forks=True,
            )
        where = (address, port)
        if not await probe_until(
            host, process, where, lambda own: _probe(address, port, own), b"SIP/2.0 200", _START_TIMEOUT_S
        ):
            raise CallFailure(
                Outcome.LAB_FAILED, "starting", on=f"kamailio at {where}", happened=_why(log), remedy=f"see {log}"
            )
        file.unlink()  # Kamailio has read it, and it contains digests
        yield Kamailio(address, port, domain, log)
    finally:
        file.unlink(missing_ok=True)
        if process is not None:
            await asyncio.to_thread(end_service, process)


def _found() -> tuple[str, str]:
    program = shutil.which("kamailio", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    modules = next((str(found) for pattern in _MODULE_FOLDERS for found in Path("/usr").glob(pattern)), None)
    if program is None or modules is None:
        raise CallFailure(
            Outcome.TOOL_MISSING,
            "starting",
            on="kamailio",
            happened="it is not installed",
            remedy="apt install kamailio",
        )
    return program, modules


def _probe(address: str, port: int, own: tuple[str, int]) -> bytes:
    """Return an OPTIONS request to the server itself."""
    return (
        f"OPTIONS sip:{address}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {own[0]}:{own[1]};rport;branch=z9hG4bKready\r\n"
        f"From: <sip:probe@{own[0]}>;tag=1\r\nTo: <sip:{address}>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 5\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def _why(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line or "CRITICAL" in line]
    return lines[0] if lines else f"no answer in {_START_TIMEOUT_S:g} s"
