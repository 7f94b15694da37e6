from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty
from earwitness.archive.layout import heard_file, trace_file
from earwitness.archive.record import CallRecord
from earwitness.archive.schema import Row
from earwitness.cli.main import app
from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.path.facts import CircuitFacts, Hop
from earwitness.report.html import write_report
from earwitness.report.overview import delay_cdf, pooled
from earwitness.report.words import Way, groups, summary
from testing.report.browser import browser
from testing.report.synthetic import Made, add_call, add_failure, demo

HOSTILE = (
    "\"'><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">{{7*7}}</script></title>"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo(folder / "data")
    return write_report(folder / "data")


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()


def _parsed(page: Path) -> _Parser:
    parser = _Parser()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_it_is_one_well_formed_file_that_asks_for_nothing_else(page: Path) -> None:
    parsed = _parsed(page)
    assert parsed.open == []
    assert len(parsed.tags) > 100
    for tag, attributes in parsed.tags:
        assert tag not in ("img", "iframe", "link", "object", "embed", "audio", "video", "base", "form"), tag
        assert "src" not in attributes
        assert "style" not in attributes, "the policy forbids inline styles"
        assert not any(name.startswith("on") for name in attributes)
        if "href" in attributes:
            assert (attributes["href"] or "").startswith("#")
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_it_tells_what_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in (
        "7 calls between Frankfurt and New York",
        "in a private Tor network",
        "seeds 1–6",
        "Over Tor with 3 hops:",
        "tor 0.4.9.11",
        "Allison Smith, CC BY-SA 3.0",
        "extending the circuit to exitChicago: relay closed the connection (DESTROYED); choose another exit",
        "Natural Earth",
    ):
        assert words in text, words
    assert text.count('<details class="call') == 6
    assert text.count('class="direction"') == 12


def test_it_is_small_and_holds_each_sound_once(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    sounds = re.findall(r'<script type="text/plain" id="sound-\w+">([^<]*)</script>', text)
    assert len(sounds) == len(set(sounds))
    assert 3 <= len(sounds) <= 14, "12 directions, some heard the same, and the reference at two rates"
    assert len(text) - sum(map(len, sounds)) < 700_000


def test_every_picture_has_words(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r'<svg class="(?:plot|map)[^>]*>(.{7})', text)
    assert len(pictures) > 10
    assert set(pictures) == {"<title>"}


def test_the_page_works_in_a_browser_without_network(page: Path) -> None:
    with browser() as tab:
        tab.open(page)
        first = "document.querySelector('.direction')"
        # A smooth scroll goes on for as long as the machine pleases, and a click then falls beside what it was for.
        tab.run("document.documentElement.style.scrollBehavior = 'auto'")
        # The call of the table's link opens.
        tab.run("location.hash = '#call-3'")
        tab.wait("document.getElementById('call-3').open")
        # Sorting by MOS-LQO: worst first, what was not measured last.
        tab.run("document.querySelectorAll('table.sortable th button')[5].click()")
        scores = "[...document.querySelectorAll('table.sortable tbody tr')].map(r => r.cells[5].dataset.v)"
        measured = [float(value) for value in tab.run(scores) if value]
        assert measured == sorted(measured)
        assert tab.run(scores)[-1] == ""
        tab.run("document.querySelectorAll('table.sortable th button')[5].click()")
        measured = [float(value) for value in tab.run(scores) if value]
        assert measured == sorted(measured, reverse=True)
        # Seeking by a click in the middle of a waveform, playing, switching between heard and said at the same moment.
        tab.run(f"{first}.scrollIntoView({{behavior: 'instant'}})")
        middle = f"(b => [b.left + b.width / 2, b.top + 20])({first}.querySelector('.tracks').getBoundingClientRect())"
        where = tab.run(middle)
        for kind in ("mousePressed", "mouseReleased"):
            tab.send("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)
        position = f"parseFloat({first}.querySelector('input').value)"
        span = tab.run(f"parseFloat({first}.dataset.span)")
        tab.wait(f"{position} > {span / 2 + 0.3}")
        assert tab.run(position) < span / 2 + 3
        assert "Pause" in tab.run(f"{first}.querySelector('.play').textContent")
        before = tab.run(position)
        tab.run(f"{first}.querySelector('[data-which=said]').click()")
        assert tab.run(f"{first}.querySelector('[data-which=said]').getAttribute('aria-pressed')") == "true"
        tab.wait(f"{position} > {before + 0.2}")
        assert tab.run(position) < before + 2.5
        # A second player stops the first.
        tab.run("document.querySelectorAll('.direction .play')[1].click()")
        assert "Play" in tab.run(f"{first}.querySelector('.play').textContent")
        head = tab.run(f"{first}.querySelector('.head').style.left")
        assert float(head.rstrip("%")) > 50
        assert tab.problems == []
        assert [url for url in tab.requests if not url.startswith(("file:", "blob:", "data:"))] == []


def test_hostile_strings_do_not_run(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path / "data") as dataset:
        relays = (Hop(nickname=HOSTILE, place=HOSTILE, country=HOSTILE),) * 2
        for number, outcome in enumerate((Outcome.COMPLETED, Outcome.CIRCUIT_FAILED)):
            call_id = f"call-{number}"
            row = Row(
                call_id=call_id,
                started_at=HOSTILE,
                path=HOSTILE,
                codec=HOSTILE,
                circuit=HOSTILE,
                from_place=HOSTILE,
                to_place=HOSTILE,
                outcome=str(outcome),
                outcome_detail=HOSTILE,
                verdict=HOSTILE,
                verdict_reason=HOSTILE,
                playout_buffer=HOSTILE,
                direction="to_callee",
                mos_lqo=float("inf"),
            )
            record = CallRecord(
                call_id=call_id,
                started_at=HOSTILE,
                command=(HOSTILE,),
                versions={HOSTILE: HOSTILE},
                network=HOSTILE,
                path=HOSTILE,
                circuit=CircuitFacts(id=HOSTILE, relays=relays),
                caller=CallParty(place=HOSTILE),
                codec=HOSTILE,
                phone=HOSTILE,
                outcome=outcome,
                outcome_detail=HOSTILE,
                stage=HOSTILE,
                milestones={HOSTILE: 1},
                rows=(row,),
                notes=(HOSTILE,),
            )
            dataset.add_failed(record)
    page = write_report(tmp_path / "data")
    assert "<img" not in page.read_text(encoding="utf-8")
    parsed = _parsed(page)
    assert parsed.open == []
    assert len(parsed.tags) > 100
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    with browser() as tab:
        tab.open(page)
        assert tab.run("document.title") != "run"
        assert tab.run("document.images.length") == 0
        assert tab.problems == []


def test_missing_and_damaged_parts_are_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Dataset.open_or_create(root) as dataset:
        for number in range(4):
            add_call(dataset, Made(f"call-{number}", seed=number))
    calls = root / "calls"
    (calls / "call-0" / heard_file("to_callee")).unlink()
    (calls / "call-1" / trace_file("to_callee")).write_bytes(b"PAR1 not really")
    (calls / "call-2" / heard_file("to_caller")).write_bytes(b"RIFF")
    (calls / "call-3" / "record.json").write_text("{")
    text = write_report(root).read_text(encoding="utf-8")
    assert "to_callee.wav: the call has no such file" in text
    assert re.search(r"<li>to_callee.trace.parquet: \S", text)
    assert re.search(r"<li>to_caller.wav: ", text)
    assert "<code>calls/call-3</code>: " in text
    assert text.count('<details class="call') == 3


def test_an_empty_data_set_has_a_page_too(tmp_path: Path) -> None:
    Dataset.open_or_create(tmp_path / "data")
    assert "There are no calls in this data set yet." in write_report(tmp_path / "data").read_text(encoding="utf-8")


def test_only_failures(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path / "data") as dataset:
        add_failure(dataset)
    text = write_report(tmp_path / "data").read_text(encoding="utf-8")
    assert "the call failed." in text
    assert text.count('class="failure"') == 1


def test_many_calls_stay_usable_and_the_worst_best_and_middle_are_shown(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Dataset.open_or_create(root, durable=False) as dataset:
        for number in range(300):
            path = "direct" if number % 2 else "tor"
            row = Row(
                call_id=f"c{number:03}",
                path=path,
                hops=0 if number % 2 else 3,
                codec="g711u",
                outcome="completed",
                mos_lqo=1 + number / 100,
                verdict="good",
                started_at=f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z",
            )
            rows = tuple(Row(**{**row.to_dict(), "direction": direction}) for direction in ("to_callee", "to_caller"))
            dataset.add_failed(
                CallRecord(
                    call_id=row.call_id, started_at=row.started_at, path=path, outcome=Outcome.COMPLETED, rows=rows
                )
            )
    text = write_report(root, calls=6).read_text(encoding="utf-8")
    assert text.count('<details class="call') == 6
    assert "6 of 300 completed calls are shown" in text
    for number in (1, 2, 299, 300):
        assert f'id="call-{number}"' in text, "the worst and the best of each path"
    assert len(text) < 900_000
    assert text.count("<tr class=") == 600
    every = write_report(root, tmp_path / "all.html", calls=None).read_text(encoding="utf-8")
    assert every.count('<details class="call') == 300


CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"load": "web:4", "load_mbit_s": 1.4},
    {"load": "web:12", "load_mbit_s": 2.7, "link": "none"},
    {"load": "none", "relay_nodelay": True},
    {"link": "jitter=20", "relay_nodelay": False},
)


def under_conditions() -> list[Row]:
    """A row of a call over Tor without load, with a little, with much, and so on; the last one first."""
    return [
        Row(
            call_id=f"c{place}",
            path="tor",
            hops=3,
            codec="g711u",
            outcome="completed",
            direction="to_callee",
            started_at=f"2026-01-01T00:00:{place:02}Z",
            mos_lqo=4.0 - place / 2,
            verdict="good",
            **different,
        )
        for place, different in reversed(list(enumerate(CONDITIONS)))
    ]


def test_calls_of_one_path_under_other_conditions_are_told_apart(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path / "data", durable=False) as dataset:
        for row in under_conditions():
            rows = (row, replace(row, direction="to_caller"))
            dataset.add_failed(
                CallRecord(
                    call_id=row.call_id, started_at=row.started_at, path="tor", outcome=Outcome.COMPLETED, rows=rows
                )
            )
    text = write_report(tmp_path / "data").read_text(encoding="utf-8")
    cards = re.findall(r"<h3>(Tor[^<]*)</h3>", text)
    more = ("", ", TCP_NODELAY", ", link jitter=20", ", load web:4", ", load web:12")
    assert cards == [f"Tor, 3 hops{one}" for one in more]
    for words in ("Over Tor with 3 hops, load web:4:", "Tor, 3 hops, load web:12 · G.711 μ-law: 3.00"):
        assert words in text


def test_paths_are_compared_with_the_plain_direct_one_over_the_same_codecs() -> None:
    direct = Row(call_id="d", path="direct", codec="g711u", outcome="completed", mos_lqo=4.4, mouth_to_ear_ms=100.0)
    tor = replace(direct, call_id="t", path="tor", hops=3, mos_lqo=3.5, mouth_to_ear_ms=300.0)
    others = [replace(direct, codec="gsm", mos_lqo=3.5), replace(direct, link="loss=0.1", mos_lqo=2.0)]
    said = dict(summary(groups([direct, *others, tor])))
    assert "against 4.40 without Tor" in said["Over Tor with 3 hops"]
    assert "200 ms longer than without Tor" in said["Over Tor with 3 hops"]
    assert "against" not in said["Without Tor, link loss=0.1"]
    assert "timing" not in said["Over Tor with 3 hops"]
    marked = dict(summary(groups([tor, replace(tor, instrument_ok=False)])))["Over Tor with 3 hops"]
    assert "In 1 of 2 directions this machine's own timing was not good enough." in marked
    assert "without Tor" not in dict(summary(groups([*others, tor])))["Over Tor with 3 hops"]


def test_the_chart_of_delays_has_a_line_for_each_load() -> None:
    found = groups(under_conditions())
    assert [group.way.conditions for group in found] == [
        "",
        "TCP_NODELAY",
        "link jitter=20",
        "load web:4",
        "load web:12",
    ]
    spreads = pooled({group.way: [(np.linspace(100, 200 + place, 50), 0)] for place, group in enumerate(found)})
    chart = delay_cdf(spreads)
    assert chart is not None
    _, keys = chart
    assert [key.label for key in keys] == [group.way.label for group in found]
    assert len({key.dash for key in keys}) == 5
    assert len({key.style for key in keys}) == 1
    # Paths that are there once keep the dash that they have in every report.
    alone = delay_cdf([replace(spreads[0], way=way) for way in (Way("direct", None), Way("tor", 2), Way("tor", 3))])
    assert alone is not None
    assert [key.dash for key in alone[1]] == ["", "9 4 2 4", "9 4"]


def test_the_same_data_give_the_same_page(page: Path, tmp_path: Path) -> None:
    again = write_report(page.parent, tmp_path / "again.html")
    assert again.read_bytes() == page.read_bytes()


def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is none"):
        write_report(tmp_path / "nothing")
    Dataset.open_or_create(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises((CallFailure, NotADirectoryError, FileExistsError)):
        write_report(tmp_path / "data", tmp_path / "file" / "report.html")


def test_the_command(page: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "page.html", tmp_path / "figures"
    command = ["report", str(page.parent), "--out", str(out), "--calls", "2", "--json", "--figures", str(figures)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(rows) == 14
    assert out.read_text(encoding="utf-8").count('<details class="call') == 2
    names = sorted(path.name for path in figures.iterdir())
    assert names == ["delay-cdf.pdf", "delay-cdf.png", "mos-by-codec.pdf", "mos-by-codec.png"]
