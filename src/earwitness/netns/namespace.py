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
"""Large enough that the device never drops packets before the emulator reads them: only the emulator decides on
losses."""


@dataclass
class NamespaceHost:
    """One host of the lab; implements `earwitness.netns.host.Host`."""

    name: str
    place: str
    """City as requested; `location` identifies it."""
    address: str
    number: int
    """The host's number in the emulator and in the truth log."""
    location: Place
    role: str = "plain"
    """authority, guard, middle, exit, client or plain."""
    interface: str = INTERFACE

    @property
    def namespace_path(self) -> Path:
        """The named network namespace; `ip netns exec NAME` works inside the sandbox."""
        return NETNS_DIR / self.name

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread into this host's network namespace.

        A socket or device opened inside stays there for its lifetime. Do not `await` inside.
        """
        with _thread_namespace_kept():
            descriptor = os.open(self.namespace_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            yield

    def device_drops(self) -> int:
        """Packets that the device dropped because the emulator read them too slowly (normally 0)."""
        with self.inside():
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
                device, _, counters = line.partition(":")
                if device.strip() == self.interface:
                    return int(counters.split()[11])  # transmit "drop"
        raise EarwitnessError("reading the counters of", self.name, "its device is gone", "see emulator.log")

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process on this host; `options` are those of `start_owned`. It is killed when this process ends.

        Raises:
            EarwitnessError: the program does not exist, or did not start.
        """
        try:
            return start_owned(argv, within=self.inside, **options)
        except OSError as error:
            raise EarwitnessError(
                "starting", argv[0], f"on host {self.name}: {error}", "run `earwitness doctor` to see what is missing"
            ) from error


def create_host(host: NamespaceHost) -> int:
    """Create the host's namespace, its loopback and its TUN device.

    Returns:
        The TUN descriptor, to be passed to the emulator and then closed here.

    Raises:
        OSError: not inside a sandbox, or refused by the kernel.
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
    """Remove the namespace's name; the namespace disappears when no process is in it any more."""
    syscalls.unmount(str(host.namespace_path))
    host.namespace_path.unlink()


def _without_ipv6() -> None:
    """Disable IPv6, because the emulated network is IPv4: no router solicitations."""
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")


@contextlib.contextmanager
def _thread_namespace_kept() -> Iterator[None]:
    """Restore the calling thread's network namespace afterwards."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
        finally:
            os.close(home)
