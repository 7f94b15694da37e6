"""A device of a call does not shadow a network that the machine has a way to: real routes in a network of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from earwitness.netns.routes import networks
from earwitness.netns.tun import TUN_CLONE_DEVICE

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(TUN_CLONE_DEVICE).exists(), reason="needs root and a TUN device"
)

PROGRAM = """
import contextlib, json, subprocess, sys
from earwitness.errors import EarwitnessError
from earwitness.netns.routes import networks
from earwitness.path.tun import callee_device
from earwitness.path.tunnel_numbers import tunnel_is_taken, tunnel_number

class Here:
    name = "here"
    inside = staticmethod(contextlib.nullcontext)

for command in sys.argv[2:]:
    subprocess.run(["ip", *command.split()], check=True)
before = [str(network) for network in networks()]
found = {"networks": before}
wanted = json.loads(sys.argv[1])
try:
    if "device" in wanted:
        with callee_device(Here(), wanted["device"]) as descriptor:
            found["made"] = descriptor is not None
            found["during"] = [str(network) for network in networks()]
    if "tunnel" in wanted:
        with tunnel_number(Here()) as number:
            found["number"] = number
        found["taken"] = [number for number in range(255) if tunnel_is_taken(number)]
except EarwitnessError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


def in_a_network_with(*commands: str, **wanted: Any) -> dict[str, Any]:
    argv = ["unshare", "--net", sys.executable, "-c", PROGRAM, json.dumps(wanted), "link set lo up", *commands]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


LAN = ("link add lan0 type veth peer name lan1", "link set lan0 up", "address add 10.99.1.7/24 dev lan0")


def test_a_lan_in_our_addresses_is_left_alone() -> None:
    assert in_a_network_with(device=1)["made"]
    with_lan = in_a_network_with(*LAN, device=1)
    assert "10.99.1.0/24" in with_lan["networks"]
    assert not with_lan["made"]
    assert in_a_network_with(*LAN, device=2)["made"]


@pytest.mark.parametrize(
    ("route", "made"),
    [
        ("10.99.1.64/26 via 192.0.2.1", False),
        ("10.99.0.0/16 via 192.0.2.1", False),
        ("10.99.1.9/32 via 192.0.2.1 table 52", False),  # where a VPN client of the machine's keeps its own
        ("unreachable 10.99.1.0/24", False),
        ("default via 192.0.2.1", True),
        ("0.0.0.0/1 via 192.0.2.1", True),  # OpenVPN's redirect-gateway def1
        ("10.0.0.0/8 via 192.0.2.1", True),
        ("10.99.2.0/24 via 192.0.2.1", True),
    ],
)
def test_a_route_of_any_table(route: str, made: bool) -> None:
    up = ("link add wan0 type veth peer name wan1", "link set wan0 up", "address add 192.0.2.7/24 dev wan0")
    assert in_a_network_with(*up, f"route add {route}", device=1)["made"] is made


def test_a_tunnel_takes_the_next_number() -> None:
    lan = ("link add lan0 type veth peer name lan1", "link set lan0 up", "address add 10.8.0.5/24 dev lan0")
    assert in_a_network_with(tunnel=True)["number"] == 0
    found = in_a_network_with(*lan, tunnel=True)
    assert (found["number"], found["taken"]) == (1, [0])


def test_where_everything_is_taken_one_line_says_so() -> None:
    all_of_them = ("link add lan0 type veth peer name lan1", "link set lan0 up", "address add 10.8.0.5/16 dev lan0")
    found = in_a_network_with(*all_of_them, tunnel=True)
    assert "networks that this machine has routes to" in found["error"]


def test_the_routes_of_this_machine_are_read() -> None:
    assert all(isinstance(network, IPv4Network) and network.prefixlen >= 9 for network in networks())
    assert any(network.network_address.is_loopback for network in networks())
