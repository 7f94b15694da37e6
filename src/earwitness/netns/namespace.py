"""A host that is a network namespace with one TUN device into the emulator."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.errors import EarwitnessError
from earwitness.geography import Place
from earwitness.netns import syscalls, tun
from earwitness.netns.owned import start_owned

NETNS_DIR = Path("/run/netns")
"""Where `ip netns` looks; private to the sandbox."""
INTERFACE = "lab0"
NETMASK = "255.255.0.0"
MTU = 1500
DEVICE_QUEUE_PACKETS = 5000
"""Long enough that the device never drops before the emulator has read: what is lost, the emulator decides."""


@dataclass
class NamespaceHost:
    """One host of the lab; a `earwitness.netns.host.Host`."""

    name: str
    place: str
    """City, as it was asked for; `location` says which."""
    address: str
    number: int
    """The emulator's number for this host, and in the truth log."""
    location: Place
    role: str = "plain"
    """authority, guard, middle, exit, client or plain."""
    interface: str = INTERFACE

    @property
    def namespace_path(self) -> Path:
        """The named network namespace, so that `ip netns exec NAME` works inside the sandbox."""
        return NETNS_DIR / self.name

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread into this host's network namespace.

        A socket or device opened inside stays there for its life. Do not `await` inside.
        """
        with _thread_namespace_kept():
            descriptor = os.open(self.namespace_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            yield

    def device_drops(self) -> int:
        """Packets that the device dropped because the emulator was too slow to read them (0 when all is well)."""
        with self.inside():
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
                device, _, counters = line.partition(":")
                if device.strip() == self.interface:
                    return int(counters.split()[11])  # transmit "drop"
        raise EarwitnessError("reading the counters of", self.name, "its device is gone", "see emulator.log")

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process here; `options` are `start_owned`'s. It is killed when this process ends.

        Raises:
            EarwitnessError: the program is not there, or did not start.
        """
        try:
            return start_owned(argv, within=self.inside, **options)
        except OSError as error:
            raise EarwitnessError(
                "starting", argv[0], f"on host {self.name}: {error}", "run `earwitness doctor` to see what is missing"
            ) from error


def create_host(host: NamespaceHost) -> int:
    """Make the host's namespace, its loopback and its TUN device.

    Returns:
        The TUN descriptor, which is to be handed to the emulator and closed here.

    Raises:
        OSError: not inside a sandbox, or the kernel refused.
    """
    NETNS_DIR.mkdir(parents=True, exist_ok=True)
    host.namespace_path.touch(exist_ok=False)
    with _thread_namespace_kept():
        syscalls.unshare(syscalls.CLONE_NEWNET)
        syscalls.mount("/proc/thread-self/ns/net", str(host.namespace_path), flags=syscalls.MS_BIND)
        tun.bring_up("lo")
        _without_ipv6()
        descriptor = tun.open_tun(INTERFACE)
        try:
            tun.configure(INTERFACE, host.address, NETMASK, mtu=MTU, queue_packets=DEVICE_QUEUE_PACKETS)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def remove_host(host: NamespaceHost) -> None:
    """Forget the namespace's name; the namespace goes when no process is in it any more."""
    syscalls.unmount(str(host.namespace_path))
    host.namespace_path.unlink()


def _without_ipv6() -> None:
    """The emulated network is IPv4: no router solicitations on it."""
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")


@contextlib.contextmanager
def _thread_namespace_kept() -> Iterator[None]:
    """Put the calling thread back into the network namespace it was in."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
        finally:
            os.close(home)
