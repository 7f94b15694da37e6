"""Which files belong to which call: the published study's folders, or a plain folder of captures and recordings.

No file is opened here; the names alone say what a file claims to be. The importer reads the packets.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from earwitness.errors import InputError
from earwitness.files import is_utf8, path_text

CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap")
REFERENCE_NAMES = ("prior-work-jithin-audio.wav", "Original_audio.wav", "reference.wav")
"""Names of the reference speech in the study's folders, and in a plain one."""

_PUBLISHED = re.compile(
    r"(?:^|/)(?P<status>Tor|Non-Tor)/(?P<codec>[^/]+)/(?:(?P<batch>[^/]+)/)?(?P<location>[^/]+)"
    r"/(?P<end>caller|callee)/data/(?:(?P<pcap>test_pcaps)|test_(?:caller|callee)_recordings)"
    r"/(?P<stem>[A-Za-z_]+)_(?P<iteration>\d+)\.(?P<suffix>pcap|wav)$"
)
_STEM_END = {
    "pcap_capture_inside": "caller",
    "pcap_callee_inside": "callee",
    "caller_recording": "caller",
    "callee_recording": "callee",
}


@dataclass(frozen=True)
class FoundEnd:
    """The files left by one end of a call: paths relative to the scanned folder, empty if there is none."""

    end: str
    capture: str = ""
    recording: str = ""


@dataclass(frozen=True)
class FoundCall:
    """One call found in a folder, with the ends that left files.

    `published`: the folder names are the study's; `status` is then Tor or Non-Tor. A plain pair of files has one end,
    the caller's.
    """

    call_id: str
    status: str
    codec_claimed: str
    batch: str
    location: str
    iteration: int | None
    ends: tuple[FoundEnd, ...]
    published: bool


@dataclass(frozen=True)
class Scan:
    """The contents of a folder: calls in order of name, the reference speech, and files that belong to no call."""

    folder: Path
    calls: tuple[FoundCall, ...]
    reference: Path | None
    strays: tuple[tuple[str, str], ...]
    """(path relative to the folder, reason) of each capture or recording that is not part of a call."""


def scan(folder: Path, reference: Path | None = None) -> Scan:
    """Find the calls under `folder`: in the published layout if the names match it, otherwise as pairs by stem.

    A capture `x.pcap` next to a recording `x.wav` makes a plain call; either may be missing. Raises `InputError` if the
    folder cannot be read or holds neither captures nor recordings.
    """
    if not folder.is_dir():
        raise InputError("importing", folder, "it is not a folder", "give a folder of captures and recordings")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (*CAPTURE_SUFFIXES, ".wav") and path.is_file() and not path.name.startswith(".")
    )
    found_reference = reference or _find_reference(folder, files)
    published: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    plain: list[Path] = []
    strays: list[tuple[str, str]] = []
    absolute = folder.resolve()
    for path in files:
        relative = path.relative_to(folder).as_posix()
        if not is_utf8(relative):
            strays.append((path_text(relative), "its name is not UTF-8; rename it"))
            continue
        match = _PUBLISHED.search((absolute / relative).as_posix())
        if match is None:
            if path != found_reference and path.name not in REFERENCE_NAMES:
                plain.append(path)
            continue
        end = _STEM_END.get(match["stem"])
        if end is None or end != match["end"]:
            strays.append((relative, f"the name says {end or 'no end'}, the folder says {match['end']}"))
            continue
        key = (match["status"], match["codec"], match["batch"] or "", match["location"], str(int(match["iteration"])))
        kind = "capture" if match["suffix"] == "pcap" else "recording"
        files_of_end = published.setdefault(key, {}).setdefault(end, {})
        if kind in files_of_end:
            strays.append((relative, f"another {kind} of the same call: {files_of_end[kind]}"))
            continue
        files_of_end[kind] = relative
    calls = [_published_call(key, ends) for key, ends in published.items()]
    calls += _plain_calls(folder, plain)
    if not calls:
        none = "it holds no captures or recordings" + (f" except {strays[0][0]}: {strays[0][1]}" if strays else "")
        raise InputError("importing", folder, none, "give a folder with captures or recordings")
    calls.sort(key=lambda call: call.call_id)
    return Scan(folder, tuple(calls), found_reference, tuple(strays))


def _published_call(key: tuple[str, ...], ends: dict[str, dict[str, str]]) -> FoundCall:
    status, codec, batch, location, iteration = key
    name = "-".join(
        part for part in (status.replace("-", "").lower(), codec.lower(), batch, location, iteration) if part
    )
    return FoundCall(
        call_id=safe_id(name),
        status=status,
        codec_claimed=codec.lower(),
        batch=batch,
        location=location,
        iteration=int(iteration),
        ends=tuple(FoundEnd(end, **ends[end]) for end in ("caller", "callee") if end in ends),
        published=True,
    )


def _plain_calls(folder: Path, files: Iterable[Path]) -> list[FoundCall]:
    pairs: dict[str, dict[str, str]] = {}
    for path in files:
        relative = path.relative_to(folder)
        kind = "recording" if path.suffix.lower() == ".wav" else "capture"
        stem = relative.with_suffix("").as_posix()
        if kind in pairs.get(stem, {}):  # a.pcap next to a.pcapng: two calls
            stem = relative.as_posix()
        pairs.setdefault(stem, {})[kind] = relative.as_posix()
    return [
        FoundCall(safe_id(stem), "", "", "", "", None, (FoundEnd("caller", **pair),), published=False)
        for stem, pair in sorted(pairs.items())
    ]


def safe_id(name: str) -> str:
    """`name` as a call id: letters, digits and `._+-`; if anything was changed or cut, a digest keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", ".", name).lstrip("._+-") or "call"
    if plain == name and len(plain) <= 100:
        return plain
    return f"{plain[:90]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _find_reference(folder: Path, files: list[Path]) -> Path | None:
    """The reference speech: in the folder itself, otherwise where the study keeps it, in a parent folder."""
    for name in REFERENCE_NAMES:
        for path in files:
            if path.name == name:
                return path
    for parent in (folder.resolve(), *folder.resolve().parents[:6]):
        candidate = parent / "02-data-collection-steps" / "caller" / "audio-samples" / REFERENCE_NAMES[0]
        if candidate.is_file():
            return candidate
    return None
