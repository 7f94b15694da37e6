"""The configuration files of a private Tor network, with the reason for each value (tor(1))."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

OR_PORT = 9001
DIR_PORT = 9030
SOCKS_PORT = 9050
VOTING_INTERVAL_S = 300
"""Time between consensuses. It must divide a day; it is long, so as not to disturb measurements."""
FIRST_VOTE_TO_CONSENSUS_S = 4
VOTING_OFFSET = "TestingV3AuthVotingStartOffset"


def voting_offset(first_consensus_s: float) -> int:
    """The value of `VOTING_OFFSET` that makes a consensus valid from this Unix time on, rounded up."""
    return math.ceil(first_consensus_s) % VOTING_INTERVAL_S


@dataclass(frozen=True)
class TorOptions:
    """Options of a private network.

    `exits`: nicknames of the exits; None makes every second relay one. `guards`: nicknames of the relays with the
    Guard flag; None gives it to all. `refusing`: nicknames of exits whose policy refuses every stream (they keep the
    Exit flag; for tests of refusal). `extra`: lines for every torrc.
    `relay_mbit`: limit on each relay's rate, Mbit/s (0: none; tor's minimum is 0.615).
    `relay_nodelay`: keep TCP_NODELAY set on the connections of relays and clients (`earwitness.tor.nodelay`).
    """

    exits: tuple[str, ...] | None = None
    guards: tuple[str, ...] | None = None
    refusing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    relay_nodelay: bool = False
    relay_mbit: float = 0.0


@dataclass(frozen=True)
class Authority:
    """What the other nodes must know about a directory authority before it starts."""

    nickname: str
    address: str
    fingerprint: str
    v3_identity: str

    def line(self) -> str:
        """Its `DirAuthority` line."""
        return (
            f"DirAuthority {self.nickname} orport={OR_PORT} no-v2 v3ident={self.v3_identity} "
            f"{self.address}:{DIR_PORT} {self.fingerprint}"
        )


@dataclass(frozen=True)
class Node:
    """One tor of the network: its host, and the directory of its state."""

    nickname: str
    address: str
    directory: Path
    authorities: tuple[Authority, ...]
    extra: tuple[str, ...] = field(default=())

    @property
    def control_socket(self) -> Path:
        """Its control socket; a unix socket works across network namespaces."""
        return self.directory / "control"

    @property
    def log(self) -> Path:
        """Its notice log."""
        return self.directory / "notice.log"

    @property
    def torrc(self) -> Path:
        """Its configuration file."""
        return self.directory / "torrc"

    def _common(self) -> list[str]:
        return [
            # Small-network defaults: private addresses, no distinct-subnet rule, quick retries.
            "TestingTorNetwork 1",
            *(authority.line() for authority in self.authorities),
            f"DataDirectory {self.directory}",
            f"Nickname {self.nickname}",
            f"Log notice file {self.log}",
            "SafeLogging 0",
            f"ControlSocket {self.control_socket}",
            "CookieAuthentication 1",
            # The default, 60 % of each position, is too cautious when all relays start at once.
            "PathsNeededToBuildCircuits 0.67",
            # Learned timeouts would differ between runs; a wide-area circuit in the lab builds in < 2 s.
            "LearnCircuitBuildTimeout 0",
            "CircuitBuildTimeout 20",
            # Cells and queueing time per second and circuit, for controllers that ask (control-spec CELL_STATS).
            "TestingEnableCellStatsEvent 1",
            # SIGTERM ends a relay at once; by default it waits 30 s for its users.
            "ShutdownWaitLength 0",
            *self.extra,
        ]

    def relay(self, *, is_exit: bool, refuses: bool = False, mbit: float = 0.0) -> str:
        """The torrc of a relay; `mbit` limits its rate in each direction unless it is 0."""
        lines = [
            *self._common(),
            "SocksPort 0",
            f"Address {self.address}",
            f"OutboundBindAddress {self.address}",
            f"ORPort {self.address}:{OR_PORT} IPv4Only",
            # No outside node could test its reachability.
            "AssumeReachable 1",
            # There is no name server in the lab; addresses are literal.
            "ServerDNSDetectHijacking 0",
            "ServerDNSTestAddresses",
            "ServerDNSAllowBrokenConfig 1",
            "DirCache 1",
            # A minute after its start, a relay that has built a circuit tests its bandwidth with 500 kB over four more,
            # all relays at once, perhaps during a call. A relay that builds no circuits, but still expects to, does
            # not.
            "__DisablePredictedCircuits 1",
            "CircuitsAvailableTimeout 24 hours",
        ]
        if mbit:
            rate = f"{round(mbit * 1e6 / 8)} bytes"
            # The lab's addresses are private, and by default tor does not count traffic to those.
            lines += [f"RelayBandwidthRate {rate}", f"RelayBandwidthBurst {rate}", "CountPrivateBandwidth 1"]
        if is_exit and not refuses:
            # With a policy for the private range only, tor's automatic circuits hang: they need a general exit.
            lines += ["ExitRelay 1", "ExitPolicyRejectPrivate 0", "ExitPolicy accept *:*"]
        elif is_exit:
            # A policy that rejects everything would cost it the Exit flag; one unused port keeps it.
            lines += [
                "ExitRelay 1",
                "ExitPolicyRejectPrivate 0",
                "ExitPolicy accept 192.0.2.1:80",
                "ExitPolicy reject *:*",
            ]
        else:
            lines += ["ExitRelay 0", "ExitPolicy reject *:*"]
        return _text(lines)

    def authority(self, exits: Sequence[str], guards: Sequence[str], *, started_s: float) -> str:
        """The torrc of a directory authority.

        `exits` and `guards` are the addresses that get these flags. The first vote is due half an interval after the
        Unix time `started_s`; when all relays have published, `voting_offset` brings it forward.
        """
        lines = [
            self.relay(is_exit=False),
            f"DirPort {self.address}:{DIR_PORT} IPv4Only",
            "AuthoritativeDirectory 1",
            "V3AuthoritativeDirectory 1",
            "ContactInfo none",
            # Assign flags by configuration: no relay of a network that is seconds old has earned any.
            f"TestingDirAuthVoteExit {','.join(exits)}",
            "TestingDirAuthVoteExitIsStrict 1",
            f"TestingDirAuthVoteGuard {','.join(guards)}",
            "TestingDirAuthVoteGuardIsStrict 1",
            "TestingDirAuthVoteHSDir *",
            "TestingMinExitFlagThreshold 0",
            "TestingAuthDirTimeToLearnReachability 0",
            "AuthDirMaxServersPerAddr 0",
            # The shortest phases permitted by tor.
            f"TestingV3AuthInitialVotingInterval {VOTING_INTERVAL_S}",
            "TestingV3AuthInitialVoteDelay 2",
            "TestingV3AuthInitialDistDelay 2",
            f"{VOTING_OFFSET} {voting_offset(started_s + VOTING_INTERVAL_S / 2)}",
            f"V3AuthVotingInterval {VOTING_INTERVAL_S}",
            "V3AuthVoteDelay 2",
            "V3AuthDistDelay 2",
            # A missed vote must not bring the network down.
            "V3AuthNIntervalsValid 12",
        ]
        return _text(lines)

    def client(self) -> str:
        """The torrc of a client."""
        lines = [
            *self._common(),
            # Not ExtendedErrors: tor 0.4.9 then returns the error of the first directory that lacked the
            # descriptor, although it got it from another and the stream is open.
            f"SocksPort 127.0.0.1:{SOCKS_PORT}",
            "ClientOnly 1",
            "ORPort 0",
            # The callee's address is private.
            "ClientRejectInternalAddresses 0",
            "ClientDNSRejectInternalAddresses 0",
            # Conflux would double the background circuits of an idle client and carry no stream of ours.
            "ConfluxEnabled 0",
        ]
        return _text(lines)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(line.rstrip("\n") for line in lines) + "\n"
