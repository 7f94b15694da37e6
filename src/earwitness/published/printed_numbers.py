"""The numbers that the published study printed, in its own formatting.

`method` names the computation in `published.methods` that recomputes the number from the calls.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One printed number: its condition, its quantity, and the printed characters, which give its precision."""

    group: str
    condition: str
    quantity: str
    printed: str
    method: str
    argument: str = ""


def _both(condition: str, share: str, quartiles: tuple[str, str, str]) -> list[Published]:
    group = "PESQ, both ends"
    return [
        Published(group, condition, "MOS-LQO ≥ 3.0", share, "pesq_share"),
        *(
            Published(group, condition, f"MOS-LQO {name}", value, "pesq_quartile", str(position))
            for position, (name, value) in enumerate(zip(QUARTILES, quartiles, strict=True))
        ),
    ]


QUARTILES = ("first quartile", "median", "third quartile")


def _codec(
    condition: str, codec: str, above: str, total: str, share: str, mean: str, quartiles: tuple[str, str, str]
) -> list[Published]:
    group = "Codec table"
    return [
        Published(group, condition, f"{codec}: MOS-LQO > 3.0, scores", above, "codec_above", codec),
        Published(group, condition, f"{codec}: scores", total, "codec_total", codec),
        Published(group, condition, f"{codec}: MOS-LQO > 3.0", share, "codec_share", codec),
        Published(group, condition, f"{codec}: mean MOS-LQO", mean, "codec_mean", codec),
        *(
            Published(group, condition, f"{codec}: MOS-LQO {name}", value, "codec_quartile", f"{codec} {position}")
            for position, (name, value) in enumerate(zip(QUARTILES, quartiles, strict=True))
        ),
    ]


NON_TOR, TOR = "Non-Tor", "Tor, 3 hops"

NUMBERS: tuple[Published, ...] = (
    Published("Calls", NON_TOR, "rows", "5,350", "rows"),
    Published("Calls", TOR, "rows", "30,526", "rows"),
    *_both(NON_TOR, "82.22 %", ("3.30", "3.51", "3.61")),
    *_both(TOR, "14.66 %", ("1.83", "2.29", "2.77")),
    Published("Mean jitter", NON_TOR, "ends measured", "10,589", "jitter_total"),
    Published("Mean jitter", NON_TOR, "ends kept by a 3 × IQR cut", "9,828", "jitter_kept"),
    Published("Mean jitter", NON_TOR, "mean of those kept", "0.403 ms", "jitter_mean"),
    Published("Mean jitter", TOR, "ends measured", "56,681", "jitter_total"),
    Published("Mean jitter", TOR, "ends kept by a 3 × IQR cut", "53,387", "jitter_kept"),
    Published("Mean jitter", TOR, "mean of those kept", "42.875 ms", "jitter_mean"),
    *(
        Published("Mean jitter", TOR, f"kept ends above {bound} ms", share, "jitter_above", str(bound))
        for bound, share in ((10, "99 %"), (20, "96 %"), (30, "52 %"))
    ),
    *_codec(NON_TOR, "g711", "3,418", "3,699", "92.40 %", "3.40", ("3.51", "3.57", "3.62")),
    *_codec(NON_TOR, "gsm", "0", "546", "0.00 %", "2.40", ("2.32", "2.45", "2.49")),
    *_codec(NON_TOR, "opus", "549", "550", "99.82 %", "4.34", ("4.26", "4.38", "4.49")),
    *_codec(NON_TOR, "speex", "385", "549", "70.13 %", "3.06", ("2.96", "3.16", "3.24")),
    *(
        Published("Codec table", TOR, f"{codec}: MOS-LQO > 3.0", share, "codec_share", codec)
        for codec, share in (("g711", "22.43 %"), ("gsm", "1.14 %"), ("opus", "54.90 %"), ("speex", "1.98 %"))
    ),
    Published("One-way delay", TOR, "delays (RTT/2)", "35,061", "owd_total"),
    *(
        Published("One-way delay", TOR, f"RTT/2, {name}", value, "owd_quartile", str(position))
        for position, (name, value) in enumerate(zip(QUARTILES, ("138 ms", "200 ms", "262 ms"), strict=True))
    ),
    Published("One-way delay", TOR, "RTT/2 under 400 ms", "92.8 %", "owd_under", "400"),
    *(
        Published("PESQ against sd of jitter", TOR, f"{name}, both ends", value, "correlation", name)
        for name, value in (("Pearson", "-0.370"), ("Spearman", "-0.610"), ("Kendall", "-0.444"))
    ),
)
"""Every number of the study that Earwitness tries to reproduce."""
