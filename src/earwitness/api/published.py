"""Published captures and recordings: import them, and reproduce a study's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.api.data import directory_of
from earwitness.api.needing import face_needs
from earwitness.events import Listener, ignore

if TYPE_CHECKING:
    from earwitness.api.data import Data
    from earwitness.published.importing import ImportSummary
    from earwitness.report.reproduction.result import Reproduction


def import_folder(
    folder: str | Path,
    out: str | Path,
    *,
    as_published: bool = False,
    reference: str | Path | None = None,
    copy_files: bool = False,
    workers: int = 1,
    on_event: Listener = ignore,
) -> ImportSummary:
    """Measure captures and recordings and store them as a data set: timing from the packets, PESQ from the sound.

    Args:
        folder: in the published study's layout, or pairs of x.pcap and x.wav.
        out: the data set; created if it does not exist. Calls that it already has are not measured again.
        as_published: score and compute jitter as the published study did, to its number of decimals.
        reference: the speech that was played; by default the study's, if it is found.
        copy_files: copy captures and recordings into the data set.
        workers: number of parallel processes.
        on_event: called with the progress after each call; `print` is sufficient.

    Returns:
        Counts of calls and rows, `doubts` by kind, and `files_without_a_call`.

    Raises:
        EarwitnessError: no calls in the folder, no such reference, or the data set cannot be written.
    """
    face_needs("import_folder", "data")
    from earwitness.netns.workers import pool
    from earwitness.published.importing import import_folder as import_calls

    with pool(workers) as executor:
        return import_calls(
            Path(folder),
            Path(out),
            as_published=as_published,
            reference=None if reference is None else Path(reference),
            copy_files=copy_files,
            executor=executor,
            on_event=on_event,
        )


def reproduce(
    data: Data,
    out: str | Path,
    *,
    raw: bool = True,
    workers: int = 1,
    resamples: int = 1000,
    seed: int = 1,
    on_event: Listener = ignore,
) -> Reproduction:
    """Reproduce a study's numbers, tables and figures, and write them to the folder `out` with an HTML page.

    Args:
        data: the published study's artifact (a folder), or an Earwitness data set, for the same figures of a new study.
        out: folder for tables (CSV, Markdown), figures (PDF, PNG) and reproduction.html.
        raw: measure the artifact's captures and recordings too.
        workers: number of parallel processes.
        resamples, seed: of the bootstrap for each interval; the same values give the same bytes.
        on_event: called with the progress after each call; `print` is sufficient.

    Returns:
        `numbers` (each published number and the reproduced one), `tables` by name, `figures`, `files`.

    Raises:
        EarwitnessError: the folder is neither, or a file cannot be written. See docs/reproduction.md.
    """
    face_needs("reproduce", "report")
    from earwitness.netns.workers import pool
    from earwitness.report.reproduction.reproduce import reproduce as compute_again

    with pool(workers) as executor:
        return compute_again(
            directory_of(data), Path(out), raw=raw, executor=executor, resamples=resamples, seed=seed, on_event=on_event
        )
