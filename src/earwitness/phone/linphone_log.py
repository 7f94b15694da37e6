"""Parser of linphonec's output, line by line: SIP messages, milestones, ends of calls, packet counts.

Pure: takes lines and their times. Liblinphone's own log uses the same pipe, so it never touches a disk; credentials
are redacted as it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from earwitness.phone.sip_wire import SipLog, redacted

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3} ")
_SENT = re.compile(r"message sent to \[\w+://([^\]]+)\], size: \[(\d+)\] bytes")
_RECEIVED = re.compile(r"received \[(\d+)\] new bytes from \[\w+://([^\]]+)\]:")
_COUNT = re.compile(r"ortp-message-(sent|received|incoming cumulative lost)\s+(-?\d+) packets")
_REGISTRATION = re.compile(r"moving from state \[\w+\] to \[LinphoneRegistration(\w+)\]")
_STATUS = re.compile(r"SIP/2\.0 (\d{3})\b", re.ASCII)
_CALL_OVER = re.compile(r"^Call \d+ with .* (ended|error)\b")


@dataclass
class _Message:
    """A SIP message being read."""

    sent: bool
    peer: str
    left: int
    at_ns: int
    lines: list[str] = field(default_factory=list)


@dataclass
class LinphoneLog:
    """The state so far. Call `line` with each line of output and the time at which it was read."""

    milestones: dict[str, int] = field(default_factory=dict)
    sip: SipLog = field(default_factory=SipLog)
    counts: dict[str, int] = field(default_factory=dict)
    """RTP packets: `sent`, `received`, `incoming cumulative lost`, as oRTP reports at the end of the call."""
    registration: str = ""
    """None, Progress, Ok, Cleared, Failed."""
    last_register_status: int = 0
    invite_status: int = 0
    """Status of the final response to the INVITE that was sent or received."""
    bye_status: int | None = None
    ended_by: str = ""
    streaming: bool = False
    over: bool = False
    ready: bool = False
    _message: _Message | None = None

    @property
    def counted(self) -> bool:
        """Whether the packet counts have arrived, which linphone prints when a call is over."""
        return "received" in self.counts

    def line(self, text: str, at_ns: int) -> None:
        """Take one line of output, without its newline, read at `at_ns` on the call's clock."""
        prompted = text.startswith("linphonec>")
        text = text.removeprefix("linphonec> ")
        if self._message is not None:
            if self._message.left > 0 and not prompted and not _STAMP.match(text):
                self._message.lines.append(text)
                self._message.left -= len(text.encode()) + 2
                return
            self._complete()
        if found := _SENT.search(text):
            self._message = _Message(True, found[1], int(found[2]), at_ns)
        elif found := _RECEIVED.search(text):
            self._message = _Message(False, found[2], int(found[1]), at_ns)
        elif found := _COUNT.search(text):
            self.counts[found[1]] = int(found[2])
        elif found := _REGISTRATION.search(text):
            self.registration = found[1]
            if found[1] == "Ok":
                self._reach("registered", at_ns)
        elif text.startswith("Media streams established"):
            self.streaming = True
        elif text.startswith("sip port ="):
            self.ready = True
        elif _CALL_OVER.match(text):
            self.over = True
            self._reach("ended", at_ns)

    def _complete(self) -> None:
        message, self._message = self._message, None
        assert message is not None
        wire = "\r\n".join(message.lines).encode()
        self.sip.note(message.at_ns, message.sent, message.peer, wire)
        text = redacted(wire)
        first = text.partition("\r\n")[0]
        if found := _STATUS.match(first):
            method = re.search(r"(?im)^CSeq:\s*\d+\s+(\w+)", text)
            self._response(int(found[1]), method[1] if method else "", message)
        elif first.startswith("INVITE "):
            self._reach("invite_sent" if message.sent else "invite_received", message.at_ns)
        elif first.startswith("ACK ") and "answered" in self.milestones:
            self._reach("ack", message.at_ns)
        elif first.startswith("BYE "):
            self._reach("bye", message.at_ns)
            self.ended_by = self.ended_by or ("local" if message.sent else "remote")

    def _response(self, status: int, method: str, message: _Message) -> None:
        if method == "INVITE":
            if 100 < status < 200:
                self._reach("first_provisional", message.at_ns)
            elif 200 <= status < 300:
                self._reach("answered", message.at_ns)
            if status >= 200:
                self.invite_status = status
        elif method == "REGISTER" and not message.sent:
            self.last_register_status = status
        elif method == "BYE" and not message.sent:
            self.bye_status = status

    def _reach(self, milestone: str, at_ns: int) -> None:
        self.milestones.setdefault(milestone, at_ns)
