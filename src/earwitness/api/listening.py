"""One direction of a call: its timing, its playout, its score, and the causes of its impairment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from earwitness.api.needing import face_needs
from earwitness.arrays import Pcm
from earwitness.ear.base import JitterBuffer
from earwitness.ear.hear import Heard
from earwitness.ear.hear import hear as hear_trace
from earwitness.ear.listen import choose_stream, codec_of_stream, listen_to_capture
from earwitness.errors import InputError
from earwitness.replay.blame import Blame
from earwitness.replay.blame import blame as blame_heard
from earwitness.replay.estimating import estimate_streams
from earwitness.score.listening import Listening
from earwitness.score.listening import listening_quality as score_sounds
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.reference import Speech, speech, speech_names
from earwitness.speech.wav import read_wav, resample
from earwitness.trace.capture import Capture, read_capture
from earwitness.trace.model import Trace
from earwitness.trace.report import choose_streams, time_streams
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.timing import SPIKE_MS, Timing, summarise

if TYPE_CHECKING:
    import pandas as pd

Packets: TypeAlias = Trace | RtpStream | Capture | str | Path
"""Input of `ew.hear`: a trace, a stream of a capture, or a whole capture (parsed, or as a file)."""

AnySound: TypeAlias = Heard | Speech | tuple[Pcm, int] | str | Path
"""What was heard, speech, (samples, sample rate in Hz), a sound file, or the name of bundled speech."""

DEFAULT_BUFFER = "pjmedia"
"""The jitter buffer of the published study's phones."""


def timing(packets: Trace | RtpStream, *, spike_threshold_ms: float = SPIKE_MS) -> Timing:
    """Summarise when the packets of one stream arrived: jitter, gaps, spikes, bursts, loss, delay variation.

    A gap longer than `spike_threshold_ms` is a spike. Field names give the units; a figure without data is NaN. Never
    raises, not even for an empty trace. Definitions: RFC 3550 A.8, RFC 5481; docs/timing.md.
    """
    trace = packets.trace if isinstance(packets, RtpStream) else packets
    return summarise(trace, spike_threshold_ms=spike_threshold_ms)


def time_capture(
    capture: Capture | str | Path,
    *,
    side: str | None = None,
    address: str | None = None,
    stream: int | str | None = None,
    spike_threshold_ms: float = SPIKE_MS,
    buffer: JitterBuffer | str = DEFAULT_BUFFER,
) -> pd.DataFrame:
    """Time every RTP stream of a capture: one row per stream, with the columns of `earwitness timing --json`.

    `side` (`caller` or `callee`) selects what that side received, `address` what that address sent, `stream` one stream
    by its SSRC or its number from 1. Columns that begin with `published_` or `wireshark_` are the same figures by the
    published study's or Wireshark's definition; `estimate` is a record of what a phone with this `buffer` would have
    made of the stream, and of the quality that the E-model estimates from the packets alone.

    Raises:
        EarwitnessError: the file is not a capture, or there is no such stream.
    """
    face_needs("time_capture", "data")
    import pandas as pd

    read = _capture(capture)
    chosen = choose_streams(read, side=side, address=address, stream=None if stream is None else str(stream))
    found = time_streams(read, chosen, spike_threshold_ms=spike_threshold_ms)
    estimates = estimate_streams(read, chosen, buffer, stream=stream)
    return pd.DataFrame(
        [{**one.to_dict(), "estimate": each.record()} for one, each in zip(found, estimates, strict=True)]
    )


def hear(
    packets: Packets,
    codec: Codec | str | None = None,
    buffer: JitterBuffer | str = DEFAULT_BUFFER,
    *,
    to: str | None = None,
    stream: int | str | None = None,
    concealment: str | None = None,
    reference: Speech | str | Path | None = None,
    seed: int = 0,
) -> Heard:
    """Compute what a phone with this jitter buffer would have played: the sound, and the fate of every frame.

    Args:
        packets: a trace; a stream of a capture; or a capture, from which the stream that its phone received is used.
        codec: such as `opus:24000,fec=1`. Required for a trace; a capture usually identifies it.
        buffer: `fixed:MS`, `adaptive[:MS]`, `pjmedia` or `oracle:MS`.
        to: for a capture, the address of the receiving phone.
        stream: for a capture, the number of the stream, from 1, or its SSRC.
        concealment: `silence`, `repeat`, `wsola`, `codec`, `fec` or `pjmedia`; by default the buffer's own.
        reference: the speech that was sent. Needed only if the capture truncated its packets, to reconstruct them.
        seed: of the comfort noise, the only random component.

    Returns:
        `audio` (n,) int16 at `sample_rate` Hz, `ledger` (a table, one row per frame), `shares` (played, late, lost
        ...), `mouth_to_ear_mean_ms`, `playout_delay_mean_ms`. The same arguments give the same bytes. See docs/ear.md.

    Raises:
        EarwitnessError: unknown codec or buffer, nothing arrived, or the packets are not of this codec.
    """
    heard, _ = _listened(
        packets, codec, buffer, to=to, stream=stream, concealment=concealment, reference=reference, seed=seed
    )
    return heard


def score(reference: AnySound, degraded: AnySound) -> Listening:
    """Score degraded speech against its reference with PESQ (ITU-T P.862, P.862.1).

    Both may be results of `ew.hear` or `ew.speech`, (samples (n,) int16, sample rate in Hz), or a sound file; the
    reference may also be the name of bundled speech. They are compared at 16 kHz if both have as much,
    otherwise at 8 kHz; at 16 kHz wideband PESQ (P.862.2) is computed too.

    Returns:
        `mos_lqo` 1.02..4.55; `mos_lqo_wb` or None; `pesq` with the raw score and the delay in ms that PESQ found.

    Raises:
        EarwitnessError: a sound is too short, too long or silent, or a file cannot be read. See docs/scores.md.
    """
    got, rate = _sound(degraded, 8000)
    said, said_rate = _sound(reference, rate)
    return score_sounds(said, got, rate, said_rate)


def blame(
    packets: Packets,
    reference: Speech | str | Path,
    codec: Codec | str | None = None,
    buffer: JitterBuffer | str = DEFAULT_BUFFER,
    *,
    to: str | None = None,
    stream: int | str | None = None,
) -> Blame:
    """Attribute one direction's loss of MOS-LQO to causes: codec, loss, lateness, concealment and others.

    The call is replayed with one cause after the other restored. `reference` is the speech that was sent; the other
    arguments are those of `ew.hear`.

    Returns:
        `parts`, MOS-LQO per cause (negative: it helped), which sum to `whole`; `sentence`, the same in words.

    Raises:
        EarwitnessError: as `ew.hear`; or a replay cannot be scored. See docs/whatif.md.
    """
    heard, known = _listened(packets, codec, buffer, to=to, stream=stream, reference=reference)
    return blame_heard(heard, known, _said(reference, known))


def _listened(
    packets: Packets,
    codec: Codec | str | None,
    buffer: JitterBuffer | str,
    *,
    to: str | None = None,
    stream: int | str | None = None,
    concealment: str | None = None,
    reference: Speech | str | Path | None = None,
    seed: int = 0,
) -> tuple[Heard, Codec]:
    """Return what was heard, and the codec that decoded it."""
    asked = codec if codec is None or isinstance(codec, str) else codec.spec
    if isinstance(packets, Trace | RtpStream):
        if to is not None or stream is not None:
            raise InputError(
                "listening at", to or stream, "a stream has one receiver", "give the whole capture, or omit the address"
            )
        if isinstance(packets, RtpStream):
            trace, known = packets.trace, codec_of_stream(packets, asked)
        elif asked is None:
            raise InputError("listening to", packets.source or "a trace", "its codec is unknown", "give the codec")
        else:
            trace, known = packets, codec_named(asked)
        said = None if reference is None else _said(reference, known)
        return hear_trace(trace, known, buffer, concealment=concealment, reference=said, seed=seed), known
    capture = _capture(packets)
    known = choose_stream(capture, to=to, codec=asked, stream=stream).codec
    said = None if reference is None else _said(reference, known)
    (heard,) = listen_to_capture(
        capture,
        [buffer],
        reference=said,
        to=to,
        codec=asked,
        stream=stream,
        concealment=concealment,
        seed=seed,
    )
    return heard, known


def _capture(capture: Capture | str | Path) -> Capture:
    return capture if isinstance(capture, Capture) else read_capture(capture)


def _said(reference: Speech | str | Path, codec: Codec) -> Pcm:
    """Return the reference speech, (n,) at the codec's rate."""
    if isinstance(reference, Speech):
        return resample(reference.samples, reference.sample_rate, codec.sample_rate)
    return speech(reference, codec.sample_rate).samples


def _sound(sound: AnySound, rate: int) -> tuple[Pcm, int]:
    """Return the samples and their rate in Hz; bundled speech is read at `rate`."""
    if isinstance(sound, Heard):
        return sound.audio, sound.sample_rate
    if isinstance(sound, str | Path) and str(sound) in speech_names():
        sound = speech(sound, rate)
    if isinstance(sound, Speech):
        return sound.samples, sound.sample_rate
    return read_wav(sound) if isinstance(sound, str | Path) else sound
