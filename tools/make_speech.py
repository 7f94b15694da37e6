"""Build the reference speech that ships with Earwitness, from the prompts of Debian's asterisk-core-sounds packages.

    apt-get install asterisk-core-sounds-en-g722 asterisk-core-sounds-it-g722 ffmpeg
    python tools/make_speech.py

Each piece is whole sentences by one speaker with pauses between, active level -26 dBov (ITU-T P.56), at
16 kHz and at 8 kHz. Both rates come from the same 16 kHz recordings (G.722 in the packages), so they hold the same
speech, sample for sample in step, and narrowband and wideband scores of one call can be set side by side; the
8 kHz one is limited to the telephone band first, as a telephone does it. The samples are the same on every run;
their SHA-256 is in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from earwitness.speech.level import at_level, speech_level
from earwitness.speech.samples import to_int16
from earwitness.speech.wav import resample

SOUNDS = Path("/usr/share/asterisk/sounds")
DATA = Path(__file__).resolve().parent.parent / "src" / "earwitness" / "speech" / "data"
RATE = 16000
EDGE_S = 0.5
PAUSE_S = 0.8
LEVEL_DBOV = -26.0


@dataclass(frozen=True)
class Speaker:
    """Who speaks, and on what terms."""

    folder: str
    speaker: str
    sex: str
    language: str
    licence: str
    licence_url: str
    copyright: str
    package: str


ALLISON = Speaker(
    "en_US_f_Allison",
    "Allison Smith",
    "female",
    "en-US",
    "CC BY-SA 3.0",
    "https://creativecommons.org/licenses/by-sa/3.0/",
    "2003-2010 Allison Smith (http://www.theivrvoice.com); financial contributions by Digium, Inc.",
    "asterisk-core-sounds-en-g722",
)
CARLO = Speaker(
    "it_IT_m_Carlo",
    "Carlo Flora",
    "male",
    "it-IT",
    "CC BY 3.0",
    "https://creativecommons.org/licenses/by/3.0/",
    "2012 Carlo Flora (http://www.carloflora.com, http://www.segreterietelefoniche.it); translated by Silvia Petrin",
    "asterisk-core-sounds-it-g722",
)

PIECES: dict[str, tuple[Speaker, tuple[str, ...]]] = {
    "allison-10s": (ALLISON, ("followme/sorry", "conf-invalid")),
    "allison-30s": (
        ALLISON,
        ("priv-introsaved", "followme/sorry", "vm-rec-name", "pbx-invalid", "conf-invalid", "vm-mailboxfull"),
    ),
    "carlo-10s": (CARLO, ("auth-incorrect", "conf-getchannel")),
    "carlo-30s": (
        CARLO,
        ("vm-tempgreeting2", "vm-rec-temp", "speed-dial-empty", "agent-alreadyon", "auth-incorrect"),
    ),
}
"""Which prompts make which piece: whole sentences, chosen among the prompts on which codecs do well."""


def main() -> None:
    """Write the FLAC files and the manifest."""
    manifest = {}
    DATA.mkdir(parents=True, exist_ok=True)
    for name, (speaker, prompts) in PIECES.items():
        wide = assemble([sentence(SOUNDS / speaker.folder / f"{prompt}.g722") for prompt in prompts])
        rates = {RATE: at_level(to_int16(high_pass(wide, 70.0)), RATE, LEVEL_DBOV)}
        rates[8000] = at_level(resample(to_int16(high_pass(wide, 300.0)), RATE, 8000), 8000, LEVEL_DBOV)
        digests = {}
        for rate, samples in rates.items():
            if np.abs(samples.astype(np.int32)).max() >= 32767:
                raise SystemExit(f"{name} at {rate} Hz clips")
            soundfile.write(DATA / f"{name}-{rate // 1000}k.flac", samples, rate, subtype="PCM_16")
            digests[str(rate)] = hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()
        level = speech_level(rates[8000], 8000)
        manifest[name] = {
            "speaker": speaker.speaker,
            "sex": speaker.sex,
            "language": speaker.language,
            "licence": speaker.licence,
            "licence_url": speaker.licence_url,
            "copyright": speaker.copyright,
            "debian_package": speaker.package,
            "prompts": list(prompts),
            "seconds": len(rates[8000]) / 8000,
            "samples_sha256": digests,
        }
        print(f"{name}: {len(wide) / RATE:.2f} s, {level.active_dbov:.2f} dBov, active {level.activity:.0%}")
    (DATA / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def sentence(path: Path) -> NDArray[np.float64]:
    """One prompt at 16 kHz without the silence around it, its ends faded over 10 ms."""
    command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", str(path), "-f", "s16le", "-"]
    pcm = subprocess.run(command, capture_output=True, check=True).stdout
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    frame = RATE // 100
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    loud = np.flatnonzero(np.sqrt(np.mean(frames**2, axis=1)) > 32768 * 10 ** (-60 / 20))
    first, last = max(0, loud[0] - 4) * frame, (loud[-1] + 5) * frame
    kept = samples[first:last].copy()
    fade = 0.5 - 0.5 * np.cos(np.pi * np.arange(frame) / frame)
    kept[:frame] *= fade
    kept[-frame:] *= fade[::-1]
    return kept


def assemble(sentences: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sentences with pauses between and silence around, to a whole number of 20 ms."""
    pause, edge = np.zeros(int(PAUSE_S * RATE)), np.zeros(int(EDGE_S * RATE))
    parts = [edge]
    for one in sentences:
        parts += [one, pause]
    whole = np.concatenate([*parts[:-1], edge])
    return np.concatenate([whole, np.zeros(-len(whole) % (RATE // 50))])


def high_pass(samples: NDArray[np.float64], hertz: float) -> NDArray[np.float64]:
    """The lower edge of the band, without delay: 70 Hz for wideband (P.341), 300 Hz for the telephone (G.712)."""
    return np.asarray(sosfiltfilt(butter(2, hertz, "highpass", fs=RATE, output="sos"), samples), dtype=np.float64)


if __name__ == "__main__":
    main()
