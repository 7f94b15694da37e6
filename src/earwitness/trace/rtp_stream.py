"""One RTP stream of a capture: what it is, and how it is built from its datagrams."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from earwitness.arrays import I8, I32, I64
from earwitness.trace.by_form import by_form
from earwitness.trace.clock_back import ClockBack
from earwitness.trace.descriptions import Descriptions, Near
from earwitness.trace.encoding import Encoding
from earwitness.trace.encryption import NOT_ENCRYPTED, Encryption, KeyExchange, encryption_of
from earwitness.trace.extend import extend, extend_sequence
from earwitness.trace.incomplete import NOT_CAPTURED, first_alone, said_of_those_cut
from earwitness.trace.link_layer import Datagrams, Flow
from earwitness.trace.meaning import Meaning, meaning, meanings, speech_numbers
from earwitness.trace.model import UNKNOWN, Payloads, Trace
from earwitness.trace.one_clock import clocks_of, in_one_clock
from earwitness.trace.payload_types import codec_name, main_payload_type
from earwitness.trace.redundancy import block_types, primary_encoding
from earwitness.trace.rtp import RtpHeaders
from earwitness.trace.sdp import MediaDescription
from earwitness.trace.srtp import Attempts, open_stream
from earwitness.trace.srtp_keys import SrtpKey

_VIDEO_CLOCK = 90_000
_OPUS = Encoding("opus", 48_000, 2)
"""The only codec of telephones with this clock."""
_ROLE_MEDIA = {"video": "video", "event": "events", "repair": "repair"}
_UNPACED = {
    "events": "it carries telephone events only ({}), which have no pace: jitter and delay variation say nothing",
    "repair": "it carries repair data only ({}), which has no pace: jitter and delay variation say nothing",
}
_ALL_TWICE = 1.9
"""Packets for each distinct one, from which on a capture is called doubled ..."""
_MISFITS = 16
"""One padding count in so many that does not fit shows that there is no padding: damage is rarer, ciphertext is not."""
_LEAST, _FIRST = 6, 64
"""... from this many on; if the first ones are not, all need not be looked at."""


@dataclass(frozen=True)
class StreamOptions:
    """Facts from the user that override the capture.

    `ports`: only flows from or to these UDP ports, accepting everything there that looks like RTP. `ssrc`: only this
    one. `payload_types`: meanings of payload type numbers, overriding SDP and static assignments. `clock_rate`: of
    every stream, Hz. `srtp_keys`: with which encrypted streams may be decrypted.
    """

    ports: Collection[int] = ()
    ssrc: int | None = None
    payload_types: Mapping[int, Encoding] = field(default_factory=dict)
    clock_rate: int | None = None
    srtp_keys: Sequence[SrtpKey] = ()


@dataclass(frozen=True, eq=False)
class RtpStream:
    """One RTP stream of a capture: packets of one SSRC on one flow.

    `trace.arrived_ns` is when the capture saw each packet. `codec` is Earwitness's name for it (`g711u`, `gsm` ...),
    empty if unknown; `codec_from` is the source of that knowledge: `option`, `sdp`, `static`, `guessed`, or `unknown`.
    `call`: which of the calls on its ports, from 0. `media`: `audio`, `video`, `events` (nothing but telephone events,
    RFC 4733) or `repair` (FEC or retransmissions on an SSRC of their own). `guessed`: what about it.
    """

    trace: Trace
    flow: Flow
    payload_type: int
    codec: str
    encoding: Encoding
    codec_from: str
    call: int = 0
    media: str = "audio"
    known_encryption: Encryption | None = NOT_ENCRYPTED
    """What SDP, a key exchange or a key has shown; None: nothing did, and the payload is asked when needed."""
    guessed: tuple[str, ...] = ()
    sections: tuple[MediaDescription, ...] = ()
    """All media descriptions of the capture."""
    way: int = 0
    """1 if the capturing machine sent it, -1 if it received it, 0 if the capture does not tell."""

    @cached_property
    def encryption(self) -> Encryption:
        """Whether its sound is hidden."""
        if self.known_encryption is not None:
            return self.known_encryption
        return encryption_of(self.trace, self.flow, self.sections)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was guessed, and whether it may be encrypted."""
        perhaps = "" if self.encryption.certain else str(self.encryption)
        return (*self.guessed, *filter(None, (perhaps,)))

    @property
    def ssrc(self) -> int:
        """Synchronisation source (RFC 3550 3)."""
        return self.trace.ssrc

    def __str__(self) -> str:
        return (
            f"{self.flow} ssrc 0x{self.ssrc:08x} {self.codec or '?'} (pt {self.payload_type}) {len(self.trace)} packets"
        )


@dataclass(frozen=True, eq=False)
class CaptureFacts:
    """What the rest of a capture says about a stream."""

    found: Datagrams
    headers: RtpHeaders
    described: Descriptions
    options: StreamOptions
    clock: str
    source: str
    exchanges: Mapping[Flow, KeyExchange]
    sections: tuple[MediaDescription, ...]
    attempts: Attempts
    encrypted: bool
    """Whether any description says that RTP is encrypted."""
    clock_back: ClockBack


def build_stream(around: CaptureFacts, members: I64) -> RtpStream:
    """The stream of the datagrams at rows `members` (n,) of the capture, decrypted if a key is at hand.

    Raises InputError if the user gives a key and the extra `srtp` is missing.
    """
    found, headers = around.found, around.headers
    notes: list[str] = []
    times = found.time_ns[members]
    if len(times) > 1 and (times[1:] < times[:-1]).any():
        members = members[np.argsort(times, kind="stable")]
        times = found.time_ns[members]
        notes.append("the capture's packets were not in time order; sorted")
    flow = found.flows[int(found.flow[members[0]])]
    timestamp = extend(headers.timestamp[members], 32)
    sequence = extend_sequence(headers.sequence[members].astype(np.int64), timestamp, times)
    near = around.described.near(flow, int(times[0]))
    known, main = _known(around, members, near, timestamp, sequence)
    if around.options.clock_rate is not None:
        notes.append(f"RTP clock {around.options.clock_rate} Hz set by option")
    trace = _trace(around, members, known, notes, timestamp, sequence)
    encryption: Encryption | None = None
    if around.exchanges or around.options.srtp_keys or around.encrypted:
        trace, encryption, _ = open_stream(
            trace,
            flow,
            found,
            members,
            sections=around.sections,
            exchanges=around.exchanges,
            keys=around.options.srtp_keys,
            attempts=around.attempts,
        )
    hidden = encryption is not None and encryption.certain
    if hidden:
        trace = _unclipped(trace, headers.padding[members], found.captured[members] - headers.payload_at[members])
    if known.unsure and not hidden:
        sealed = encryption
        trace, known = _by_form(
            trace, known, lambda: bool((sealed or encryption_of(trace, flow, around.sections)).kind)
        )
    guesses: tuple[str, ...] = ()
    inside = () if hidden else block_types(trace)
    if inside:
        trace, guesses = _with_inside(trace, inside, *meanings(inside, near, around.options.payload_types))
    primary = primary_encoding(trace) if known.main.role == "redundancy" and not hidden else None
    media = _media(known)
    if media in _UNPACED:
        guesses = (*guesses, _UNPACED[media].format(known.main.name))
        trace = replace(trace, notes=(*trace.notes, guesses[-1]))
    if back := around.clock_back.between(int(times[0]), int(times[-1])):
        guesses = (*guesses, back)
        trace = replace(trace, notes=(*trace.notes, back))
    guesses = (*guesses, *_without_repair(around, flow))
    return RtpStream(
        trace,
        flow,
        main,
        codec_name(primary or known.main),
        primary or known.main,
        known.codec_from,
        media=media,
        known_encryption=encryption,
        guessed=(*known.doubts, *guesses),
        sections=around.sections,
        way=_way(found.way[members]),
    )


def _without_repair(around: CaptureFacts, flow: Flow) -> tuple[str, ...]:
    """That a stream's FEC is left out: one SSRC was asked for, and SDP says that FEC comes beside it, with another."""
    wanted = around.options.ssrc
    numbers = [number for one in around.sections for number, what in one.encodings.items() if what.role == "repair"]
    if wanted is None or not numbers:
        return ()
    ends = [(one.source, one.destination) == (flow.source, flow.destination) for one in around.found.flows]
    headers = around.headers
    beside = headers.looks_right & np.array(ends, dtype=bool)[around.found.flow] & (headers.ssrc != wanted)
    count = int(np.count_nonzero(beside & np.isin(headers.payload_type, numbers)))
    if not count:
        return ()
    return (f"{count} packets of repair data (FEC) have another SSRC and are left out, because one was asked for",)


def _by_form(trace: Trace, known: Meaning, encrypted: Callable[[], bool]) -> tuple[Trace, Meaning]:
    """The trace and its meaning, with what the form of its packets tells of payload types not surely known."""
    told = by_form(trace, known, encrypted)
    if told is known:
        return trace, known
    kept = tuple(note for note in trace.notes if note not in known.doubts or note in told.doubts)
    new = tuple(doubt for doubt in told.doubts if doubt not in kept)
    return replace(trace, formats=told.formats, notes=(*kept, *new)), told


def _with_inside(
    trace: Trace, inside: Sequence[int], more: Mapping[int, Encoding], guesses: tuple[str, ...]
) -> tuple[Trace, tuple[str, ...]]:
    """The trace with the meanings of the payload types inside its RED, and what was guessed about them."""
    first = inside[0]
    if first not in more and first not in trace.formats and trace.clock_rate == _OPUS.clock_rate:
        more = {**more, first: _OPUS}
        guesses = (*guesses, f"payload type {first}, inside RED, guessed to be opus/48000 by its clock")
    return replace(trace, formats={**more, **trace.formats}, notes=(*trace.notes, *guesses)), guesses


def _media(known: Meaning) -> str:
    """What a stream carries."""
    if known.main.role in _ROLE_MEDIA:
        return _ROLE_MEDIA[known.main.role]
    # No codec of speech has the clock of video (RFC 3551 5).
    unnamed_video = not known.main.name and known.main.clock_rate == _VIDEO_CLOCK
    return "video" if unnamed_video or (known.section is not None and known.section.media == "video") else "audio"


def _way(ways: I8) -> int:
    """The way of all packets, (n,); 0 if they differ: a router's capture has each packet both ways."""
    return int(ways[0]) if bool((ways == ways[0]).all()) else 0


def _known(around: CaptureFacts, members: I64, near: Near, timestamp: I64, sequence: I64) -> tuple[Meaning, int]:
    """What the payload types mean, and which is that of the speech: the most frequent one that carries any."""
    headers, options = around.headers, around.options
    payload_type = headers.payload_type[members]
    main = main_payload_type(payload_type)
    present = [main]
    if bool((payload_type != main).any()):
        counts = np.bincount(payload_type, minlength=128)
        present = np.flatnonzero(counts).tolist()
        spoken = speech_numbers(present, near, options.payload_types)
        main = max(spoken, key=lambda number: int(counts[number]), default=main)
    times = around.found.time_ns[members]
    rate = options.clock_rate
    return meaning(main, present, near, options.payload_types, rate, timestamp, sequence, times), main


def _trace(
    around: CaptureFacts, members: I64, known: Meaning, notes: list[str], timestamp: I64, sequence: I64
) -> Trace:
    found, headers = around.found, around.headers
    size, at = headers.payload_size[members], headers.payload_at[members]
    if _is_no_padding(headers.padding[members]):
        size = size + np.maximum(headers.padding[members], 0)
    captured = np.minimum(np.maximum(found.captured[members] - at, 0), size)
    cut = first_alone(found, members)
    if cut:
        notes.append(said_of_those_cut(cut))
    trace = Trace(
        sequence=sequence,
        timestamp=timestamp,
        payload_type=headers.payload_type[members],
        marker=headers.marker[members],
        size=size,
        sent_ns=np.full(len(members), UNKNOWN, dtype=np.int64),
        arrived_ns=found.time_ns[members],
        clock_rate=known.main.clock_rate,
        ssrc=int(headers.ssrc[members[0]]),
        arrived_clock=around.clock,
        payloads=Payloads(found.data, found.start[members] + at, captured, NOT_CAPTURED if cut else ""),
        source=around.source,
        notes=(*notes, *known.doubts),
        formats=known.formats,
    )
    if len(known.formats) > 1:
        trace = in_one_clock(trace, clocks_of(trace))
    doubled = _doubled(trace)
    return replace(trace, notes=(*trace.notes, doubled)) if doubled else trace


def _is_no_padding(padding: I32) -> bool:
    """Whether the padding counts (n,) of a stream are the last bytes of SRTP, of which many do not fit."""
    wrong = int(np.count_nonzero(padding < 0))
    return wrong > 0 and wrong * _MISFITS >= int(np.count_nonzero(padding))


def _unclipped(trace: Trace, padding: I32, held: I32) -> Trace:
    """An encrypted trace with its payloads to their ends: no byte of them is a padding count. `held` (n,): the bytes
    captured from where they begin."""
    counted = np.maximum(padding, 0)
    if trace.payloads is None or not counted.any() or _is_no_padding(padding):
        return trace
    size = trace.size + counted
    captured = np.clip(held, 0, size).astype(np.int32)
    return replace(trace, size=size, payloads=replace(trace.payloads, captured=captured))


def _doubled(trace: Trace) -> str:
    """A note if nearly every packet was captured more than once; else empty."""
    n = len(trace)
    first = trace.sequence[:_FIRST]
    if n < _LEAST or len(first) < 1.5 * len(set(first.tolist())):
        return ""
    distinct = len(np.unique(trace.sequence))
    if n < _ALL_TWICE * distinct:
        return ""
    return f"{n - distinct} of {n} packets are second copies: all is doubled, as by a mirror port; each counts once"
