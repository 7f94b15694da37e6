"""What the entry points name."""

from dataclasses import replace

from earwitness.score.scorers import SCORERS
from earwitness.speech.codecs.g711 import G711, MU_LAW


class Plain(G711):
    """G.711 under another name, of which the E-model knows nothing."""

    @property
    def name(self) -> str:
        return "plain"

    @property
    def encoding_name(self) -> str:
        return "PLAIN"

    @property
    def payload_type(self) -> int:
        return 110


PLAIN = replace(MU_LAW, name="plain", make=lambda _options: Plain("u"), impairment=None)
NUMBER = 7

_PESQ = next(kind for kind in SCORERS.built_in if kind.name == "pesq")
CRASHES = replace(_PESQ, name="crashes", column="", score=lambda evidence: 1 / len(evidence.heard[:0]))
ENDLESS = replace(_PESQ, name="endless", column="", score=lambda _evidence: float("inf"))
COLUMN = replace(_PESQ, name="mos_lqo", column="")
