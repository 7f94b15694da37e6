"""Finds the directions of a data set that can be heard again, and hears one of them through any buffer.

A live call has complete packets and its own reference. An imported call has no speech of its own (the user supplies it)
and, usually, no phone clock; that is only in the capture, and is read from it if the captures are available.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from earwitness.analysis.conditions import condition
from earwitness.archive.dataset import Dataset
from earwitness.archive.layout import CAPTURES, LISTENER, REFERENCE, trace_file
from earwitness.archive.problems import Problem, apart
from earwitness.archive.schema import Row
from earwitness.archive.stored import StoredCall
from earwitness.ear.hear import Heard, hear
from earwitness.ear.listen import choose_stream, listen_to_capture, remade_as
from earwitness.ear.payload import is_whole
from earwitness.errors import EarwitnessError, InputError, Outcome
from earwitness.files import MIB, open_regular
from earwitness.published.measure import PHONE_ADDRESS
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.reference import Speech, speech
from earwitness.speech.wav import read_wav, resample
from earwitness.trace.capture import Capture, read_capture
from earwitness.trace.model import Trace
from earwitness.trace.table import read_trace

HEARD = (Outcome.COMPLETED, Outcome.SCORER_REFUSED)
"""Outcomes of calls whose packets can be heard; a failed score does not matter here."""

DEFAULT_PHONE = "pjmedia"
"""The buffer of a call whose row names none: the study's phones', for an imported call."""

DIRECTION_COLUMNS = ("call_id", "direction", "condition", "path", "hops", "codec", "place")
"""The first columns of the tables of what-if and blame, in order."""

_MOST_BYTES = 1024 * MIB
"""Limit for a file that a direction is heard from: the capture of an hour has a tenth of it."""


@dataclass(frozen=True)
class Direction:
    """One direction of a stored call with all that is needed to hear it again. Picklable and small."""

    call_id: str
    direction: str
    condition: str
    path: str
    hops: int | None
    codec: str
    place: str
    buffer: str
    """The buffer through which the call was heard."""
    rtcp_rtt_ms: float | None
    trace: str
    """Parquet file with the packets."""
    reference: str
    """Sound file, or the name of shipped speech."""
    capture: str = ""
    """Capture at the listener, if it is available and the phone was not Earwitness's own."""
    phone_address: str = ""
    digest: str = ""
    """Hash of the packets, the capture and the speech."""

    def identity(self) -> dict[str, Any]:
        """The columns that identify the direction."""
        return {name: getattr(self, name) for name in (*DIRECTION_COLUMNS, "rtcp_rtt_ms")}

    def files(self) -> dict[str, Path]:
        """The files needed to hear it, by the field that names each."""
        named = {name: Path(getattr(self, name)) for name in ("trace", "reference", "capture") if getattr(self, name)}
        return {name: path for name, path in named.items() if name != "reference" or path.is_file()}


@dataclass(frozen=True)
class FoundDirections:
    """The usable `directions` of a data set, in order of start, and (call, direction, reason) of those left out."""

    directions: tuple[Direction, ...]
    left_out: tuple[tuple[str, str, str], ...]


def find_directions(
    dataset: Path, *, reference: str | Path | None = None, captures: Path | None = None, calls: int | None = None
) -> FoundDirections:
    """The directions of `dataset` that can be heard again.

    `reference`: the speech for calls stored without it (imported ones). `captures`: the imported folder, for the
    phones' own playing clocks. `calls`: limits the number of calls. Raises InputError if there is no data set, no
    direction can be heard, or a call needs a reference and none is given.
    """
    given = _digest_of_speech(str(reference)) if reference is not None else ""
    directions: list[Direction] = []
    left_out: list[tuple[str, str, str]] = []
    problems: list[Problem] = []
    no_speech: InputError | None = None
    store = Dataset.open(dataset)
    for number, stored in enumerate(store.readable(problems)):
        if calls is not None and number >= calls:
            break
        if not stored.rows:
            left_out.append((stored.call_id, "", f"outcome {stored.record.outcome}"))
        for row in stored.rows:
            why: list[Problem] = []
            with apart(row.call_id, why):
                reason = _cannot(stored, row)
                if reason:
                    left_out.append((row.call_id, row.direction, reason))
                    continue
                try:
                    directions.append(_direction(stored, row, reference, given, captures))
                except _NoSpeech as error:
                    no_speech = no_speech or error
                    raise
            left_out += [(row.call_id, row.direction, problem.what) for problem in why]
    left_out += [(problem.call_id, "", problem.what) for problem in problems if problem.skipped]
    if not directions:
        if no_speech is not None:
            raise no_speech
        why_not = (
            f"none of {len(left_out)} directions can be heard ({left_out[0][2]} ...)" if left_out else "it is empty"
        )
        raise InputError("hearing the calls again of", dataset, why_not, "place or import calls first")
    return FoundDirections(tuple(directions), tuple(left_out))


class _NoSpeech(InputError):
    """A call is stored without its speech, and no reference was given."""


def _cannot(stored: StoredCall, row: Row) -> str:
    """Why a direction cannot be heard again; empty if it can."""
    if row.outcome not in HEARD:
        return f"outcome {row.outcome}"
    if not stored.has(trace_file(row.direction)):
        return "no packets stored"
    try:
        codec_named(row.codec)
    except InputError:
        return f"codec {row.codec or 'unknown'} is not supported"
    return ""


def _direction(
    stored: StoredCall, row: Row, reference: str | Path | None, given: str, captures: Path | None
) -> Direction:
    own = stored.folder / REFERENCE
    if os.path.lexists(own):
        said, of_speech = str(own), _digest(own)
    elif reference is not None:
        said, of_speech = str(reference), given
    else:
        happened = f"call {row.call_id} is stored without {REFERENCE}"
        folder, remedy = stored.folder.parent.parent, "give the speech as {reference}"
        raise _NoSpeech("hearing the calls again of", folder, happened, remedy, related=("reference",))
    trace = stored.folder / trace_file(row.direction)
    capture = _capture(stored, row, captures)
    found = hashlib.sha256("\n".join([_digest(trace), of_speech, _digest(capture) if capture else ""]).encode())
    return Direction(
        call_id=row.call_id,
        direction=row.direction,
        condition=condition(row.network, row.path, row.hops or 0, row.conditions),
        path=row.path,
        hops=row.hops,
        codec=row.codec,
        place=" – ".join(filter(None, (row.from_place, row.to_place))),
        buffer=row.playout_buffer or DEFAULT_PHONE,
        rtcp_rtt_ms=row.rtcp_rtt_ms,
        trace=str(trace),
        reference=said,
        capture=str(capture) if capture else "",
        phone_address=PHONE_ADDRESS[LISTENER[row.direction]] if row.network == "published" else "",
        digest=found.hexdigest(),
    )


def _capture(stored: StoredCall, row: Row, captures: Path | None) -> Path | None:
    """The capture of an imported call, if available; live calls have packet times of both ends."""
    if not row.source_capture:
        return None
    places = [stored.folder / CAPTURES[LISTENER[row.direction]]]
    within = Path(row.source_capture)
    if captures is not None and not within.is_absolute() and ".." not in within.parts:  # the record is untrusted
        places.insert(0, captures / within)
    return next((path for path in places if path.is_file()), None)


def hear_direction(direction: Direction, buffers: Sequence[str]) -> tuple[list[Heard], Codec, Speech]:
    """What was heard through each of `buffers`, the codec used, and the speech at its rate.

    Uses the phone's own clock if there is a capture. Raises EarwitnessError if the direction cannot be heard.
    """
    if direction.capture:
        capture = _read_capture(direction.capture)
        to = direction.phone_address or None
        codec = choose_stream(capture, to=to).codec
        said = _said(direction.reference, codec.sample_rate)
        heard = listen_to_capture(capture, buffers, reference=said.samples, to=to, round_trip_ms=direction.rtcp_rtt_ms)
        return heard, codec, said
    trace = _read_trace(direction.trace)
    codec = codec_named(direction.codec)
    if not is_whole(trace):
        codec = remade_as(codec)
    said = _said(direction.reference, codec.sample_rate)
    rtt_ms = direction.rtcp_rtt_ms
    return [hear(trace, codec, one, reference=said.samples, round_trip_ms=rtt_ms) for one in buffers], codec, said


@lru_cache(maxsize=2)
def _read_capture(path: str) -> Capture:
    return read_capture(Path(path))


@lru_cache(maxsize=2)
def _read_trace(path: str) -> Trace:
    return read_trace(Path(path))


@lru_cache(maxsize=8)
def _said(reference: str, sample_rate: int) -> Speech:
    path = Path(reference)
    if path.name == REFERENCE and path.is_file():
        # A call's own reference was played already, so it is not checked again.
        samples, rate = read_wav(path)
        return Speech(reference, resample(samples, rate, sample_rate), sample_rate, "")
    return speech(reference, sample_rate)


def _digest(path: Path) -> str:
    try:
        with open_regular(path, most_bytes=_MOST_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise EarwitnessError("reading", path, error.strerror or error, "see that it can be read") from error


def _digest_of_speech(reference: str) -> str:
    return hashlib.sha256(speech(reference).samples.tobytes() + reference.encode()).hexdigest()
