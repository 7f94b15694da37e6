"""A phone's speech in a call, encoded once in each codec that the call may negotiate."""

from __future__ import annotations

from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.phone.packets import SpeechPackets, speech_packets
from earwitness.phone.setup import PhoneSetup
from earwitness.speech.codecs.base import Codec
from earwitness.speech.reference import DEFAULT_SPEECH, speech


class EncodedSpeech:
    """The speech of a phone's setup, by codec."""

    def __init__(self, setup: PhoneSetup) -> None:
        self._setup = setup
        self._by_codec: dict[str, SpeechPackets] = {}

    def encoded(self, codec: Codec) -> SpeechPackets:
        """Return its packets in this codec. Raises CallFailure (SPEECH_UNUSABLE) if the speech cannot be read."""
        key = repr(codec)
        if key not in self._by_codec:
            setup = self._setup
            try:
                samples = speech(setup.speech or DEFAULT_SPEECH, sample_rate=codec.sample_rate).samples
            except InputError as error:
                raise CallFailure(
                    Outcome.SPEECH_UNUSABLE, error.tried, on=error.on, happened=error.happened, remedy=error.remedy
                ) from error
            self._by_codec[key] = speech_packets(
                samples, codec, seconds=setup.seconds, silence_suppression=setup.silence_suppression
            )
        return self._by_codec[key]
