"""Network devices by ioctl: create a TUN device, set its address, bring a link up (linux/if_tun.h, netdevice(7))."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

TUN_CLONE_DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_UP = 0x1
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFMTU = 0x8922
_RTM_NEWLINK = 16
_NLM_F_REQUEST_ACK = 0x1 | 0x4
_NLMSG_ERROR = 2
_IFLA_TXQLEN = 13


def open_tun(name: str) -> int:
    """Create the TUN device `name` in the calling thread's network namespace.

    Returns:
        Its non-blocking descriptor: each read returns one complete IP packet. Closing the last copy removes the device.

    Raises:
        OSError: no permission, or the name is taken.
    """
    descriptor = os.open(TUN_CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def bring_up(name: str) -> None:
    """Bring the device `name` up in the calling thread's network namespace."""
    with _control_socket() as control:
        flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0)))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags[1] | _IFF_UP))


def configure(name: str, address: str, netmask: str, *, mtu: int, queue_packets: int) -> None:
    """Set the IPv4 address of device `name` and bring it up; the kernel adds the route to its subnet."""
    with _control_socket() as control:
        fcntl.ioctl(control, _SIOCSIFMTU, _integer_request(name, mtu))
        fcntl.ioctl(control, _SIOCSIFADDR, _address_request(name, address))
        fcntl.ioctl(control, _SIOCSIFNETMASK, _address_request(name, netmask))
    _set_queue(name, queue_packets)
    bring_up(name)


def _set_queue(name: str, packets: int) -> None:
    """Set the queue length with rtnetlink (rtnetlink(7)), because the ioctl needs a privilege over the whole
    machine."""
    attribute = struct.pack("=HHI", 8, _IFLA_TXQLEN, packets)
    link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    header = struct.pack("=IHHII", 16 + len(link) + len(attribute), _RTM_NEWLINK, _NLM_F_REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(header + link + attribute)
        answer = netlink.recv(4096)
    kind, error = struct.unpack_from("=4xH", answer)[0], struct.unpack_from("=16xi", answer)[0]
    if kind == _NLMSG_ERROR and error:
        raise OSError(-error, f"setting the queue of {name}: {os.strerror(-error)}")


def _control_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _integer_request(name: str, value: int) -> bytes:
    return struct.pack("16si20x", name.encode(), value)


def _address_request(name: str, address: str) -> bytes:
    return struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, socket.inet_aton(address))
