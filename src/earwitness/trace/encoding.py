"""`Encoding`: the meaning of an RTP payload type number, and what role its packets have in a stream."""

from __future__ import annotations

from dataclasses import dataclass

MEDIA_ROLES = ("speech", "redundancy", "video")
"""Roles of packets that are paced like the media: RED (RFC 2198) carries it too."""


@dataclass(frozen=True)
class Encoding:
    """One `a=rtpmap` (RFC 8866 6.6) with its `a=fmtp` (6.15): the meaning of a payload type number."""

    name: str
    clock_rate: int
    channels: int = 1
    fmtp: str = ""

    @property
    def role(self) -> str:
        """`speech`, or what its packets carry instead: `event`, `noise`, `redundancy`, `repair` or `video`."""
        return _ROLES.get(self.name.lower(), "speech")

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of `fmtp`, names in lower case: `mode-set=7; octet-align=1`."""
        pairs = (part.strip().partition("=") for part in self.fmtp.split(";"))
        return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}


_ROLES = {
    "telephone-event": "event",
    "tone": "event",
    "cn": "noise",
    "red": "redundancy",
    "ulpfec": "repair",
    "parityfec": "repair",
    "flexfec": "repair",
    "flexfec-03": "repair",
    "rtx": "repair",
    **dict.fromkeys(
        ("vp8", "vp9", "av1", "h261", "h263", "h263-1998", "h263-2000", "h264", "h265", "jpeg", "mpv", "mp2t", "celb"),
        "video",
    ),
    "nv": "video",
}
"""By name in lower case (RFC 4733, 3389, 2198, 5109, 8627, 4588)."""
