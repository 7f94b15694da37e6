"""Other people's captures and recordings: imported, and a study's numbers computed again."""

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
        out: the data set, made where there is none. Calls that it has are not measured again.
        as_published: score and compute jitter as the published study did, to its decimals.
        reference: the speech that was played; by default the study's, where it is found.
        copy_files: copy captures and recordings into the data set.
        workers: processes that measure at the same time.
        on_event: called with each call that is done, of how many; `print` will do.

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
    """Compute a study's numbers, tables and figures again and write them to the folder `out`, with one page.

    Args:
        data: the published study's artifact (a folder), or a data set of ours, for the same figures of a new study.
        out: folder for tables (CSV, Markdown), figures (PDF, PNG) and reproduction.html.
        raw: measure the artifact's captures and recordings too.
        workers: processes that measure at the same time.
        resamples, seed: of each interval; the same give the same bytes.
        on_event: called with each call that is done, of how many; `print` will do.

    Returns:
        `numbers` (each published number and what became of it), `tables` by name, `figures`, `files`.

    Raises:
        EarwitnessError: the folder is neither, or something cannot be written. See docs/reproduction.md.
    """
    face_needs("reproduce", "report")
    from earwitness.netns.workers import pool
    from earwitness.report.reproduction.reproduce import reproduce as compute_again

    with pool(workers) as executor:
        return compute_again(
            directory_of(data), Path(out), raw=raw, executor=executor, resamples=resamples, seed=seed, on_event=on_event
        )
