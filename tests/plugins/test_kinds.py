"""Kinds are registered objects: each says all of itself, and no other module lists them by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import earwitness
from earwitness import options
from earwitness.archive.schema import Row
from earwitness.call.plan import CallPlan
from earwitness.ear.buffers import BUFFERS
from earwitness.errors import InputError
from earwitness.options import Between, Option
from earwitness.path.registry import PATHS
from earwitness.phone.registry import PHONES
from earwitness.plugins import Registry
from earwitness.report.overview import path_class
from earwitness.report.style import path_style
from earwitness.report.words import Way, groups, summary
from earwitness.score.impairments import NoFactors, impairment
from earwitness.score.kind import Evidence, ScorerRefused, figure
from earwitness.score.scorers import SCORERS, extra_scores, scorer
from earwitness.speech.codecs.g711 import G711
from earwitness.speech.codecs.registry import CODECS, codec, kind_of, payload_bytes
from earwitness.speech.reference import speech
from earwitness.study.cost import tor_bytes_of


class Plain(G711):
    """G.711 under another name."""

    name = "plain"


SOURCES = Path(earwitness.__file__).parent
REGISTRIES: tuple[Registry[Any], ...] = (CODECS, BUFFERS, SCORERS, PATHS, PHONES)
MAY_LIST = {
    "published/calls_csv.py": "names that the published study gave its folders",
    "trace/appearance.py": "names of SDP and RFC 3551, below the codecs",
    "trace/contradiction.py": "names of SDP and RFC 3551, below the codecs",
    "trace/meaning.py": "names of SDP and RFC 3551, below the codecs",
    "replay/whatif.py": "the buffers that are compared unless others are named",
    "report/reproduction/quality.py": "the order of the published figure",
}

MAY_ASK = {
    "trace/appearance.py": "names of SDP and RFC 3551, below the codecs",
    "trace/contradiction.py": "names of SDP and RFC 3551, below the codecs",
    "remote/session.py": "a command of the wire between two machines",
    "ear/conceal.py": "a concealment, which has a buffer's name",
    "ear/hear.py": "a concealment, which has a buffer's name",
}


def lists_of_names(tree: ast.AST) -> Iterator[set[str]]:
    """The texts of each literal list, tuple, set or dictionary."""
    for node in ast.walk(tree):
        inside: list[Any] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            inside = node.elts
        elif isinstance(node, ast.Dict):
            inside = node.keys
        yield {one.value for one in inside if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_no_module_asks_for_a_kind_by_name() -> None:
    names = {kind.name for registry in REGISTRIES for kind in registry.built_in}
    found = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            constants = node.comparators if isinstance(node, ast.Compare) else []
            if names & {one.value for one in constants if isinstance(one, ast.Constant)}:
                found.add(str(path.relative_to(SOURCES)))
    assert found == set(MAY_ASK)


def test_no_module_lists_kinds_by_name() -> None:
    found = set()
    for path in SOURCES.rglob("*.py"):
        for names in lists_of_names(ast.parse(path.read_text())):
            if any(len(names & {kind.name for kind in registry.built_in}) > 1 for registry in REGISTRIES):
                found.add(str(path.relative_to(SOURCES)))
    assert found == set(MAY_LIST)


def test_names_and_looks_tell_kinds_apart() -> None:
    for registry in REGISTRIES:
        assert len({kind.name for kind in registry.built_in}) == len(registry.built_in)
        assert all(options.NAME.fullmatch(kind.name) and kind.summary for kind in registry.built_in)
        looks = [kind.look for kind in registry.built_in if hasattr(kind, "look")]
        for one, other in combinations(looks, 2):
            assert one.label != other.label
            assert one.dash != other.dash or (one.colour != other.colour and one.marker != other.marker)
            if len(looks) <= 7:  # as many as there are dashes; the codecs are more
                assert one.colour != other.colour
                assert one.dash != other.dash
            assert (one.hatch, one.marker) != (other.hatch, other.marker)


def test_usages_name_the_packet_times_of_each_codec() -> None:
    usages = {kind.name: kind.usage_with_ptime for kind in CODECS.built_in}
    assert all(usage.count("ptime=") == 1 for usage in usages.values())
    assert usages["g711u"] == "g711u[:ptime=1-60]"
    assert usages["opus"].endswith("][,ptime=2.5-120]")
    for kind in CODECS.built_in:
        for ms in kind.ptimes:
            with suppress(InputError):
                assert codec(f"{kind.name}:ptime={ms:g}").packet_ms == ms


def test_every_path_has_words_and_a_place_in_reports() -> None:
    rows = [
        Row(path=kind.name, hops=0 if kind.tor is None else 3, call_id=kind.name, outcome="completed")
        for kind in PATHS.built_in
    ]
    found = groups(reversed(rows))
    assert [group.way.path for group in found] == list(PATHS.names()), "in the registry's order"
    says = dict(summary(found))
    assert list(says) == [
        "Without Tor",
        "Over TCP without Tor",
        "Through the VPN",
        "Over Tor with 3 hops",
        "Over VPN over Tor",
        "Over onion service",
    ]
    assert len({path_class(group.way) for group in found}) == len(found)
    assert Way.of(rows[1]) == Way("tcp", None), "a path without Tor has no hops"
    assert [path_style("tor", hops).label for hops in (2, 3, 4)] == ["Tor, 2 hops", "Tor, 3 hops", "Tor, 4 hops"]
    assert len({path_style("tor", hops) for hops in (2, 3, 4, 5)}) == 4
    assert path_style("of-nobody").label == "of-nobody"


def test_what_a_call_puts_on_tor() -> None:
    calls = {kind.name: CallPlan(path=kind.name, seconds=10.0, hops=2) for kind in PATHS.built_in}
    assert {name for name, plan in calls.items() if tor_bytes_of(plan) == 0} == {"direct", "tcp", "vpn"}
    relays = {name: plan.tor_use.relays for name, plan in calls.items() if plan.tor_use is not None}
    assert relays == {"tor": 2, "vpn-tor": 2, "onion": 6}
    single = CallPlan(path="onion", single_onion=True).tor_use
    assert single is not None
    assert single.relays == 3
    assert {spec: payload_bytes(spec)[1] for spec in ("g711u", "gsm", "speex", "opus:24000")} == {
        "g711u": 160,
        "gsm": 33,
        "speex": 28,
        "opus:24000": 60,
    }


@pytest.mark.parametrize("spec", ["direct:fast", "direct:x=1", "nowhere", ""])
def test_a_path_that_there_is_not(spec: str) -> None:
    with pytest.raises(InputError, match=r"direct"):
        CallPlan(path=spec)
    assert PATHS.find("nowhere") is None


def test_options_are_read_and_checked() -> None:
    permitted = (Option("level", Between(0.5, 2.0), bare=True), Option("count", range(3)))
    assert options.parse("using", "k:1.5,count=2", permitted, "") == {"level": 1.5, "count": 2}
    assert options.parse("using", "k", permitted, "") == {}
    for wrong in ("k:3", "k:nan", "k:count=1.5", "k:count=3", "k:other=1", "k:1,2"):
        with pytest.raises(InputError, match="using"):
            options.parse("using", wrong, permitted, "use k")


def test_a_codec_that_the_e_model_knows_nothing_of(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(CODECS.built_in[0], name="plain", impairment=None, make=lambda _options: Plain())
    monkeypatch.setitem(CODECS._loaded, "plain", plain)
    assert kind_of(codec("plain")) is plain
    with pytest.raises(NoFactors, match="no factors are known"):
        impairment("plain")


def test_built_in_scorers_give_the_figures_that_every_call_has() -> None:
    said = speech("allison-10s", 8000).samples
    evidence = Evidence(heard=said, sample_rate=8000, reference=said)
    assert figure(scorer("PESQ"), evidence) == pytest.approx(4.549, abs=0.001)
    with pytest.raises(ScorerRefused, match="16 kHz"):
        figure(scorer("pesq-wb"), evidence)
    with pytest.raises(ScorerRefused, match="score a call"):
        figure(scorer("e-model"), evidence)
    call = Evidence(heard=said, sample_rate=8000, codec="g711u", mouth_to_ear_ms=0.0)
    assert figure(scorer("e-model"), call) == pytest.approx(4.41, abs=0.01)
    assert extra_scores(["pesq", "e-model"], evidence) == ({}, ()), "columns have them"
