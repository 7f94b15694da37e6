"""The configuration files are ones that the installed tor accepts, and say what the options ask."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from earwitness.tor.torrc import Authority, Node, voting_offset

needs_tor = pytest.mark.skipif(shutil.which("tor") is None, reason="tor is not installed: sudo apt-get install tor")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    authority = Authority("authority1", "127.0.0.1", "A" * 40, "B" * 40)
    tmp_path.chmod(0o700)
    return Node("relay1", "127.0.0.1", tmp_path, (authority,), extra=("MaxCircuitDirtiness 60",))


@needs_tor
@pytest.mark.parametrize("kind", ["relay", "exit", "refusing", "client"])
def test_tor_accepts_it(node: Node, kind: str) -> None:
    text = {
        "relay": lambda: node.relay(is_exit=False),
        "exit": lambda: node.relay(is_exit=True),
        "refusing": lambda: node.relay(is_exit=True, refuses=True),
        "client": node.client,
    }[kind]()
    node.torrc.write_text(text)
    argv = ["tor", "-f", str(node.torrc), "--defaults-torrc", str(node.directory / "none"), "--verify-config"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert said.returncode == 0, said.stdout[-1500:]


def test_first_vote_is_put_off_until_it_is_called_for(node: Node) -> None:
    lines = node.authority(["10.77.9.1"], ["10.77.7.1"], started_s=1_700_000_003.5).splitlines()
    settings = dict(line.split(" ", 1) for line in lines if " " in line)
    interval = int(settings["TestingV3AuthInitialVotingInterval"])
    until_vote = (int(settings["TestingV3AuthVotingStartOffset"]) - 1_700_000_003.5) % interval
    assert 100 < until_vote < interval
    assert 86_400 % interval == 0  # tor starts anew at midnight
    assert settings["TestingDirAuthVoteExit"] == "10.77.9.1"


def test_voting_offset_is_the_moment_within_the_interval_rounded_up() -> None:
    assert voting_offset(1_700_000_100.2) == 1_700_000_101 % 300
    assert 0 <= voting_offset(1_700_000_099.7) < 300


def test_unix_socket_path_is_short_enough_for_the_labs_directory() -> None:
    node = Node("authority1", "10.77.4.1", Path("/run/earwitness/lab/tor/authority1"), ())
    assert len(str(node.control_socket)) < 108  # sun_path, unix(7)
