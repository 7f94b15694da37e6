from __future__ import annotations

import json
from pathlib import Path

import pytest

from earwitness.errors import EarwitnessError, InputError
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.description import TorClient, TorNetwork
from earwitness.tor.relays import Relay, parse_router_status

# The form of dir-spec 3.4.1, with and without a descriptor digest.
STATUS = """\
r relay1 AAAAAAAAAAAAAAAAAAAAAAAAAAE abcdefghijklmnopqrstuvwxyz0 2026-11-22 13:02:50 10.77.7.1 9001 0
s Fast Guard Running Stable V2Dir Valid
w Bandwidth=1234 Unmeasured=1
r relay2 AAAAAAAAAAAAAAAAAAAAAAAAAAI 2026-11-22 13:02:50 10.77.8.1 443 9030
s Exit Running Valid
"""


def test_consensus_lines_become_relays() -> None:
    one, two = parse_router_status(STATUS.splitlines())
    assert (one.nickname, one.fingerprint, one.address, one.or_port) == ("relay1", "0" * 39 + "1", "10.77.7.1", 9001)
    assert (one.is_guard, one.is_exit, one.bandwidth) == (True, False, 1234)
    assert (two.fingerprint, two.or_port, two.is_exit) == ("0" * 39 + "2", 443, True)


def test_broken_line_is_an_error_that_shows_it() -> None:
    with pytest.raises(EarwitnessError, match="nonsense"):
        parse_router_status(["r nonsense"])


def test_network_survives_json() -> None:
    relay = Relay("relay1", "A" * 40, "10.77.7.1", 9001, frozenset({"Guard", "Fast"}), "Paris, FR", "FR", 5)
    client = TorClient("caller", ControlAddress(path=Path("/run/x/control")), ("127.0.0.1", 9050), 12)
    network = TorNetwork(
        "lab", (relay,), {"caller": client}, {"relay1": 34, "caller": 12, "authority1": 5}, relay_nodelay=True
    )
    assert TorNetwork.from_json(json.loads(json.dumps(network.to_json()))) == network


def test_broken_description_is_refused() -> None:
    with pytest.raises(InputError):
        TorNetwork.from_json({"name": "lab"})


def test_unknown_host_and_relay_say_what_there_is() -> None:
    network = TorNetwork("lab", (Relay("relay1", "A" * 40, "10.77.7.1"),), {})
    with pytest.raises(InputError, match="none"):
        network.client("nobody")
    with pytest.raises(InputError, match="relay1"):
        network.relay("relay9")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/tor/control", ControlAddress(path=Path("/run/tor/control"))),
        ("/run/tor/control", ControlAddress(path=Path("/run/tor/control"))),
        ("9051", ControlAddress(host="127.0.0.1", port=9051)),
        ("10.0.0.1:9151", ControlAddress(host="10.0.0.1", port=9151)),
    ],
)
def test_control_addresses(text: str, address: ControlAddress) -> None:
    assert ControlAddress.parse(text) == address
    assert ControlAddress.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "tor", "localhost:", "1.2.3.4:99999"])
def test_what_is_no_control_address(text: str) -> None:
    with pytest.raises(InputError, match="host:port"):
        ControlAddress.parse(text)
