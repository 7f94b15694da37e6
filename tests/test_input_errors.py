"""An error of input names its field; the study file turns that into key and line, the command line into an option."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest

from earwitness.call.lab_needs import lab_plan_for
from earwitness.call.plan import CallPlan, Injection, InStudy
from earwitness.cli.call_options import CallOptions
from earwitness.cli.main import app
from earwitness.cli.naming import option_names
from earwitness.emulator.link_profile import LinkProfile
from earwitness.errors import InputError, naming_field
from earwitness.lab.load.spec import LoadSpec
from earwitness.lab.plan import LabPlan
from earwitness.speech.codecs.registry import codec
from earwitness.study.checked import FileFaults
from earwitness.study.file import parse_study
from earwitness.tor.relays import Relay
from earwitness.tor.select import CircuitRequest, choose_relays

WRONG: dict[str, Any] = {
    "path": "carrier-pigeon",
    "hops": 12,
    "codec": "opus:fec=9",
    "from_place": "Nowhere at all",
    "to_place": "Nowhere at all",
    "seconds": 2.0,
    "buffer": "elastic",
    "concealment": "hope",
    "scorers": ("perfect",),
    "phone": "telegraph",
    "wait_s": 0.0,
    "keep_circuit": True,
    "security": "rot13",
    "single_onion": True,
    "rtt_probes": 100_000,
    "sip_server": "host:port",
    "sip_accounts": "accounts.toml",
    "sip_relay": True,
    "link": "jitter=-1",
    "load": "web:999",
    "relay_mbit": 0.1,
    "tail_s": 1e5,
}
"""A value of each field that cannot be; with a path that makes it so where the value alone is possible."""
PATH_FOR = {"keep_circuit": "onion"}
ALWAYS_POSSIBLE = {
    "guard": "which relays there are is known in the network only",
    "middle": "as guard",
    "exit": "as guard",
    "speech": "read when the call is placed; a study reads it before",
    "silence_suppression": "a choice of two",
    "relay_nodelay": "a choice of two; whether relays can be set so is known in the network only",
    "tunnel_nodelay": "a choice of two",
    "throughput": "a choice of two",
    "seed": "any number",
    "inject": "a value of its own, see below",
    "study": "a value of its own",
}
FIELDS = [field.name for field in dataclasses.fields(CallPlan)]


def test_every_field_of_a_call_is_looked_at_here() -> None:
    assert set(FIELDS) == WRONG.keys() | ALWAYS_POSSIBLE.keys()


def plan_to_the_last_check(options: dict[str, Any]) -> LabPlan:
    plan = CallPlan(**options)
    plan.check()
    return lab_plan_for([plan])


def plan_error(field: str) -> InputError:
    with pytest.raises(InputError) as raised:
        plan_to_the_last_check({"path": PATH_FOR.get(field, "tor"), field: WRONG[field]})
    return raised.value


@pytest.mark.parametrize("field", WRONG)
def test_the_error_of_a_call_names_its_field(field: str) -> None:
    error = plan_error(field)
    assert error.setting == field
    assert "--" not in str(error), "an option of the command line in the plan's own words"
    assert "{" not in str(error)


def test_faults_and_phones_name_their_fields() -> None:
    with pytest.raises(InputError) as raised:
        Injection.parse("earthquake")
    assert raised.value.field == "inject"
    with pytest.raises(InputError) as raised:
        CallPlan(path="direct", inject=Injection("kill-tunnel"))
    assert raised.value.field == "inject"
    with pytest.raises(InputError) as raised:
        CallPlan(phone="manual", study=InStudy(study="s", block="1.1", arm="a"))
    assert raised.value.field == "phone"


OF_AXES = {"codec", "buffer", "concealment", "phone", "load", "link"}
OF_CALL = {"scorers", "seconds", "rtt_probes", "sip_server", "sip_accounts", "sip_relay", "relay_mbit", "tail_s"}


def study_with(field: str) -> tuple[str, str, int]:
    """A study file in which this field is wrong; the key and the line that are to be named."""
    value = json.dumps(WRONG[field])
    lines = ["version = 1", 'name = "s"', "[[path]]", 'name = "first"', 'path = "direct"', "[[path]]", 'name = "arm"']
    if field == "path":
        lines.append(f"path = {value}")
    else:
        lines.append(f'path = "{PATH_FOR.get(field, "tor")}"')
        if field not in OF_AXES | OF_CALL | {"from_place", "to_place"}:
            lines.append(f"{field} = {value}")
    key, line = f"path[2].{field}", len(lines)
    lines.append("[axes]")
    if field in OF_AXES:
        lines.append(f"{field} = [{value}]")
        key, line = f"axes.{field}[1]", len(lines)
    if field != "codec":
        lines.append('codec = ["g711u"]')
    from_place, to_place = WRONG.get("from_place"), WRONG.get("to_place")
    pair = [from_place if field == "from_place" else "Paris", to_place if field == "to_place" else "London"]
    lines.append(f"places = [{json.dumps(pair)}]")
    if field in ("from_place", "to_place"):
        key, line = f"axes.places[1][{1 + (field == 'to_place')}]", len(lines)
    if field in OF_CALL:
        lines += ["[call]", f"{field} = {value}"]
        key, line = f"call.{field}" + "[1]" * (field == "scorers"), len(lines)
    return "\n".join(lines), key, line


@pytest.mark.parametrize("field", sorted(WRONG.keys() - {"wait_s"}))  # a study has no phones used by hand
def test_a_study_file_names_key_and_line(field: str) -> None:
    text, key, line = study_with(field)
    with pytest.raises(FileFaults) as raised:
        parse_study(text)
    faults = raised.value.complaints
    assert [(fault.key, fault.line) for fault in faults] == [(key, line)], str(raised.value)
    assert "--" not in faults[0].remedy


def test_all_faults_of_one_path_are_named_at_once() -> None:
    text = """
version = 1
name = "s"
[call]
sip_relay = true
[[path]]
name = "arm"
path = "vpn"
security = "rot13"
hops = 77
single_onion = true
[axes]
codec = ["g711u"]
places = [["Paris", "London"]]
"""
    with pytest.raises(FileFaults) as raised:
        parse_study(text)
    named = {(fault.key, fault.line) for fault in raised.value.complaints}
    assert named == {("call.sip_relay", 5), ("path[1].security", 9), ("path[1].hops", 10), ("path[1].single_onion", 11)}


def test_two_settings_that_do_not_agree_are_named_where_the_second_stands() -> None:
    text = """
version = 1
name = "s"
[[path]]
name = "arm"
path = "direct"
[axes]
codec = ["g711u"]
places = [["Paris", "London"]]
phone = ["builtin", "manual"]
"""
    with pytest.raises(FileFaults) as raised:
        parse_study(text)
    assert [(fault.key, fault.line) for fault in raised.value.complaints] == [("axes.phone[2]", 10)]


# -- the command line ---------------------------------------------------------------------------------------


def call_options() -> dict[str, str]:
    from typer.main import get_command

    return option_names(get_command(app).commands["call"])  # type: ignore[attr-defined]


def test_every_field_of_a_call_has_an_option() -> None:
    named = call_options()
    assert set(FIELDS) - named.keys() == {"tail_s", "study"}
    assert {field.name for field in dataclasses.fields(CallOptions)} <= named.keys()
    assert (named["from_place"], named["wait_s"], named["exit"]) == ("--from", "--wait", "--exit")


@pytest.mark.parametrize("field", sorted(WRONG.keys() - {"tail_s"}))
def test_the_error_of_a_call_names_the_option(field: str) -> None:
    named = call_options()
    line = str(plan_error(field).named(named))
    assert line.startswith(f"{named[field]}: ")
    for other in set(FIELDS) & named.keys():
        if "_" in other:
            assert other not in line.split("; ", 1)[1].replace("jitter_shape", ""), "a field's own name in a remedy"


@pytest.mark.parametrize(
    ("arguments", "begins", "says"),
    [
        (["call", "--security", "rot13"], "--security: ", "none, static, tls"),
        (["call", "--sip-accounts", "nobody.toml"], "--sip-accounts: ", "name one with --sip-server"),
        (["call", "--network", "public"], "--network: ", "give --reached-at (and --media-port)"),
        (["call", "--from", "Nowhere at all", "--path", "direct"], "--from: ", "not in the table"),
        (["call", "--inject", "earthquake"], "--inject: ", "callee-absent"),
        (["lab", "up", "--authorities", "12"], "--authorities: ", "between 1 and 5"),
        (["lab", "up", "--from", "Nowhere at all"], "--from: ", "not in the table"),
        (["lab", "up", "--link", "*:jitter=-1"], "--link: ", "jitter_ms"),
        (["lab", "up", "--link", "jitter=5"], "--link: ", "HOSTS:setting=value"),
        (["lab", "up", "--no-tor", "--load", "web:1"], "--load: ", "--tor"),
    ],
)
def test_a_real_command_line_names_the_option(arguments: list[str], begins: str, says: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from earwitness.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == InputError.exit_code, ran.stderr
    assert ran.stdout == ""
    line = " ".join(ran.stderr.split())
    assert line.startswith(f"earwitness: {begins}")
    assert says in line


# -- the error itself ---------------------------------------------------------------------------------------


def test_parts_of_a_setting_follow_after_a_dot() -> None:
    with pytest.raises(InputError) as raised, naming_field("link"):
        LinkProfile().with_spec("loss=2")
    assert raised.value.field == "link.loss_ratio"
    assert raised.value.setting == "link"
    with pytest.raises(InputError) as raised:
        LoadSpec.parse("bulk:1,rate=0.001")
    assert raised.value.field == "rate_mbit"
    with pytest.raises(InputError) as raised:
        codec("opus:complexity=99")
    assert raised.value.field == "complexity"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("caller_place", {"caller_place": "Nowhere at all"}),
        ("callee_place", {"callee_place": "Nowhere at all"}),
        ("authorities", {"authorities": 0}),
        ("relays", {"relays": 1}),
        ("pairs", {"pairs": 99}),
        ("load", {"load": "web:1"}),
        ("relay_mbit", {"relay_mbit": 0.1}),
        ("inflation", {"inflation": 0.5}),
        ("links", {"links": {"mars": "loss=0.1"}}),
        ("links.delay_ms", {"links": {"caller": "delay=-1"}}),
    ],
)
def test_the_error_of_a_lab_names_its_field(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InputError) as raised:
        LabPlan(**values)
    assert raised.value.field == field


RELAYS = [
    Relay(nickname=f"r{number}", fingerprint=f"{number:040X}", address="192.0.2.1", flags=frozenset({"Guard"}))
    for number in range(4)
]


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("guard", CircuitRequest(guard="Atlantis")),
        ("exit", CircuitRequest(exit="r1")),
        ("middle", CircuitRequest(hops=3, middle="r1,r2")),
        ("hops", CircuitRequest(hops=1)),
    ],
)
def test_a_circuit_that_cannot_be_names_its_field(field: str, request_: CircuitRequest) -> None:
    with pytest.raises(InputError) as raised:
        choose_relays(request_, RELAYS)
    assert raised.value.field == field


def test_an_error_that_came_from_another_process_names_its_field_still() -> None:
    error = InputError("asking", "x", "no", "set {other}", field="one.part", related=("other",))
    again = pickle.loads(pickle.dumps(error)).named({"one": "--one", "other": "--other"})
    assert str(again) == "--one: asking x: no; set --other"
    assert str(error) == "asking x: no; set other"
