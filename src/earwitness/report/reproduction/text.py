"""The reproduction in Markdown: the table of numbers, the row check, and the comparison of conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import pandas as pd

from earwitness.published.printed_numbers import NON_TOR
from earwitness.published.reproduction import AGREES, DIFFERS, Finding


def verdict_text(finding: Finding) -> str:
    """`yes`, `no`, or `not computable`."""
    return {AGREES: "yes", DIFFERS: "no"}.get(finding.agrees, "not computable")


def corrected_text(finding: Finding) -> str:
    """The corrected value with its interval, `82.48 % [71.22 %, 89.47 %]`, or an empty text."""
    if not finding.corrected:
        return ""
    if not finding.interval_low:
        return finding.corrected
    return f"{finding.corrected} [{finding.interval_low}, {finding.interval_high}]"


def remark_text(finding: Finding) -> str:
    """The reason, the definition of the corrected value, and the nearest available value, in one cell."""
    parts = [finding.why, f"Corrected: {finding.corrected_is}" if finding.corrected_is else ""]
    parts.append(f"At hand: {finding.nearest}" if finding.nearest else "")
    return ". ".join(part for part in parts if part)


def rows_text(checked: pd.DataFrame) -> list[str]:
    """The comparison of raw files with published rows, in sentences; empty if there was nothing to compare."""
    if checked.empty:
        return []
    measured = checked[checked["jitter_measured"]]
    scored = checked[checked["pesq_agrees"].notna()]
    wrong = scored[~scored["pesq_agrees"].astype(bool)]
    sentences = [
        f"{int(checked['jitter_agrees'].sum())} of {len(checked)} captures with a published row reproduce its six"
        f" jitter statistics within 0.002 ms ({len(measured)} with values, largest difference"
        f" {measured['jitter_difference_ms'].max():.5f} ms; {len(checked) - len(measured)} without RTP, whose cells are"
        " empty).",
        f"{int(scored['pesq_agrees'].astype(bool).sum())} of {len(scored)} recordings with a published row reproduce"
        " its PESQ raw and MOS-LQO to the third decimal.",
    ]
    sentences.extend(
        f"{row['call']}, {row['end']}: {row['pesq_raw']:.3f} / {row['mos_lqo']:.3f} from the recording,"
        f" {row['pesq_raw_published']:.3f} / {row['mos_lqo_published']:.3f} in the table."
        for row in wrong.to_dict("records")
    )
    return sentences


def lessons_text(numbers: Sequence[Finding], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What readers of the published numbers should know, in sentences with this run's figures."""
    by_name = {(number.condition, number.quantity): number for number in numbers}
    sentences = []
    speex = by_name.get((NON_TOR, "speex: MOS-LQO > 3.0"))
    if speex is not None and speex.corrected:
        sentences.append(
            "The codec table contains only the callers' scores: both ends were concatenated onto a frame indexed by"
            " call, and pandas kept the first half. The effect is largest for Speex:"
            f" {speex.published} above 3.0 as printed,"
            f" {corrected_text(speex)} at both ends."
        )
    mean = by_name.get((NON_TOR, "mean of those kept"))
    if mean is not None and mean.corrected:
        sentences.append(
            f"The mean jitter without Tor is {mean.published} because ends beyond 3 × IQR were removed first; over"
            f" all measured ends it is {corrected_text(mean)}."
        )
    doubtful, conditions = tables.get("doubtful-batches"), tables.get("conditions")
    if doubtful is not None and conditions is not None and len(doubtful):
        share = conditions.set_index("condition")["share_at_least_3"]
        sentences.append(
            f"{int(doubtful['doubtful'].sum())} calls labelled Non-Tor do not look like it (see the doubtful batches):"
            f" with them {100 * share[NON_TOR]:.1f} % of completed ends reach MOS-LQO 3.0, without them"
            f" {100 * share['Non-Tor, less doubtful']:.1f} %."
        )
    raw = tables.get("raw-files")
    if raw is not None and len(raw):
        sentences.extend(
            f"Delay spikes, {row['condition']}, raw files: {row['gaps_150ms_mean']:.1f} gaps between arrivals above"
            f" 150 ms per call end, {row['spikes_150ms_mean']:.1f} after subtracting the pauses in the speech."
            for row in raw.to_dict("records")
        )
    return sentences


def numbers_markdown(numbers: Sequence[Finding], checked: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> str:
    """Everything except the figures, as Markdown."""
    parts: list[str] = []
    if numbers:
        verdicts = [verdict_text(number) for number in numbers]
        parts.append(
            f"{len(numbers)} numbers: {verdicts.count('yes')} agree to the printed digits, {verdicts.count('no')} do"
            f" not, {verdicts.count('not computable')} cannot be computed from the files at hand.\n"
        )
        parts.extend(f"- {sentence}" for sentence in lessons_text(numbers, tables))
        for group, members in groupby(numbers, key=lambda number: number.group):
            parts.append(f"\n### {group}\n")
            parts.append(_numbers_table(list(members)))
    sentences = rows_text(checked)
    if sentences:
        parts.append("\n### Raw files against the published rows\n")
        parts.extend(f"- {sentence}" for sentence in sentences)
    for name, table in tables.items():
        if len(table):
            parts.append(f"\n### {name.replace('-', ' ').capitalize()}\n")
            parts.append(markdown_table(*reader_table(table)))
    return "\n".join(parts) + "\n"


def _numbers_table(members: Sequence[Finding]) -> str:
    """The numbers of one group; remarks are notes below the table, so that a shared one appears once."""
    notes: dict[str, int] = {}
    lines = []
    for number in members:
        remark = remark_text(number)
        mark = f"({notes.setdefault(remark, len(notes) + 1)})" if remark else ""
        lines.append(
            (
                number.condition,
                number.quantity,
                number.published,
                number.recomputed,
                verdict_text(number),
                corrected_text(number),
                mark,
            )
        )
    head = ("calls", "quantity", "published", "recomputed", "agrees", "corrected [95 %]", "note")
    legend = "\n".join(f"({mark}) {remark}.  " for remark, mark in notes.items())
    return markdown_table(head, lines) + (f"\n\n{legend}" if legend else "")


_HEADS = {
    "jitter_mean_ms_median": "mean jitter, ms",
    "jitter_sd_ms_median": "sd of jitter, ms",
    "gaps_150ms_mean": "gaps > 150 ms",
    "spikes_150ms_mean": "spikes > 150 ms",
    "half_rtt_ms_median": "RTT/2, ms",
    "first_iteration": "from iteration",
    "jitter_mean_ms_doubtful": "jitter, ms",
    "jitter_mean_ms_others": "of the others",
    "mos_lqo_doubtful": "MOS-LQO",
    "mos_lqo_others": "of the others",
}

_TOGETHER = (
    ("MOS-LQO ≥ 3.0 [95 %]", ("share_at_least_3", "share_low", "share_high")),
    ("MOS-LQO Q1, median, Q3", ("mos_lqo_q1", "mos_lqo_median", "mos_lqo_q3")),
    ("Spearman [95 %]", ("spearman", "spearman_low", "spearman_high")),
)
"""Columns to show as one: a value with its interval, or three quartiles."""


def reader_table(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for a reader: shares in per cent, values with intervals, mostly empty columns dropped, and
    empty cells for missing values.
    """
    columns: list[tuple[str, list[str]]] = []
    joined = {name: (head, names) for head, names in _TOGETHER for name in names}
    for name in map(str, table.columns):
        if name in joined:
            head, names = joined[name]
            if name == names[0]:
                columns.append(
                    (head, [_joined(names, row) for row in table[list(names)].to_numpy(dtype=float).tolist()])
                )
        elif table[name].notna().mean() >= 0.5:
            columns.append((_HEADS.get(name, name.replace("_", " ")), [_cell(value) for value in table[name]]))
    return [head for head, _ in columns], [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]


def _joined(names: Sequence[str], values: Sequence[float]) -> str:
    first, second, third = values
    if first != first:
        return ""
    if names[0].startswith("mos_lqo"):
        return f"{first:.2f}  {second:.2f}  {third:.2f}"
    scale, decimals, sign = (100, 1, " %") if names[0].startswith("share") else (1, 2, "")
    interval = "" if second != second else f" [{scale * second:.{decimals}f}, {scale * third:.{decimals}f}]"
    return f"{scale * first:.{decimals}f}{sign}{interval}"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; pipes in cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
