"""linphonec's configuration: one phone at one address, with the given codecs, and as little else as possible."""

from __future__ import annotations

from earwitness.errors import InputError
from earwitness.phone.setup import PhoneSetup
from earwitness.speech.codecs.base import Codec

_FEATURES = ("PLC", "EQUALIZER", "VOL_SND", "VOL_RCV", "DTMF", "DTMF_ECHO", "REMOTE_PLAYING")
"""Features of linphone's streams: its defaults without LOCAL_PLAYING, the echo canceller (EC), and flow control, which
only sound cards need and which cannot be listed by name. LOCAL_PLAYING puts a mixer behind the decoder. It takes 10 ms
at a time of 20 ms packets until, after its first second, it expects no other input (BYPASS_MODE_TIMEOUT in
mediastreamer2's audiomixer.c). Whatever it holds then is lost: 10 ms of every other call."""
_PLAYABLE = (("PCMU", 8000, 1), ("PCMA", 8000, 1), ("GSM", 8000, 1), ("speex", 8000, 1), ("opus", 48000, 2))
_OTHERS_ON_BY_DEFAULT = (("speex", 16000, 1), ("speex", 32000, 1), ("G729", 8000, 1), ("G722", 8000, 1))


def linphone_settings(setup: PhoneSetup, codecs: list[Codec], fixed_buffer_ms: int | None = None) -> str:
    """Return linphonec's configuration: our address and ports, these codecs only, no NAT traversal, no echo canceller.

    The jitter buffer is adaptive, unless `fixed_buffer_ms` is given.
    With a server it contains the password; it is written 0600 to a private folder that is removed afterwards.
    """
    user = setup.server.user if setup.server else setup.user
    lines = ["[sip]", f"sip_port={setup.sip_port}", "sip_tcp_port=0", "sip_tls_port=0", "use_ipv6=0"]
    lines += [
        f"bind_address={setup.address}",
        "guess_hostname=0",
        f"contact=sip:{user}@{setup.address}:{setup.sip_port}",
    ]
    lines += ["register_only_when_network_is_up=0", "inc_timeout=60"]
    lines += ["[rtp]", f"audio_rtp_port={setup.rtp_port}", f"bind_address={setup.address}"]
    lines += [
        "[net]",
        "mtu=0",
        "firewall_policy=0",
        "[sound]",
        "echocancellation=0",
        f"features={'|'.join(_FEATURES)}",
        "[video]",
        "capture=0",
        "display=0",
    ]
    wanted = [(codec.encoding_name.lower(), codec.clock_rate) for codec in codecs]
    known = (*_PLAYABLE, *_OTHERS_ON_BY_DEFAULT)
    order = sorted(known, key=lambda one: wanted.index((one[0].lower(), one[1])) if one[:2] in wanted else 99)
    for number, (name, rate, channels) in enumerate(order):
        enabled = int((name.lower(), rate) in wanted)
        lines += [
            f"[audio_codec_{number}]",
            f"mime={name}",
            f"rate={rate}",
            f"channels={channels}",
            f"enabled={enabled}",
        ]
    if (server := setup.server) is not None:
        domain, proxy = server.domain or server.host, f"<sip:{server.host}:{server.port};transport=udp>"
        lines += ["[proxy_0]", f"reg_proxy={proxy}", f"reg_route={proxy}", f"reg_identity=<sip:{user}@{domain}>"]
        lines += ["reg_expires=600", "reg_sendregister=1", "publish=0"]
        lines += ["[auth_info_0]", f"username={user}", f"passwd={server.password}", f"domain={domain}"]
        lines += ["[sip]", "default_proxy=0"]
    for line in lines:
        check_line(line)
    return "\n".join(lines) + "\n"


def check_line(line: str) -> None:
    """Check that external text, such as an address to dial, cannot inject a line. Raises `InputError`."""
    if not line.isprintable():
        raise InputError(
            "configuring linphone with", repr(line), "it is more than one line", "give plain names and addresses"
        )
