"""Phones by name: the built-in ones, imported when started, and those of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earwitness.phone.kind import CallFolder, PhoneKind
from earwitness.plugins import Registry

if TYPE_CHECKING:
    from earwitness.phone.base import Phones


def _builtin(_call: CallFolder) -> Phones:
    from earwitness.phone.builtin import BuiltinPhone

    return BuiltinPhone


def _linphone(call: CallFolder) -> Phones:
    from earwitness.phone.linphone import Linphones

    return Linphones(call.folder)


def _manual(call: CallFolder) -> Phones:
    from earwitness.phone.manual import ManualPhones

    return ManualPhones(call.captures, call.wait_s)


PHONES = Registry(
    "phone",
    "earwitness.phones",
    PhoneKind,
    (
        PhoneKind(name="builtin", summary="Earwitness's own: SIP, RTP, RTCP", build=_builtin, at_other_machine=True),
        PhoneKind(
            name="linphone", summary="Debian's linphonec, a real softphone", build=_linphone, at_other_machine=True
        ),
        PhoneKind(name="manual", summary="your own, operated by hand in a running lab", build=_manual, by_hand=True),
    ),
)
"""All phones; other packages add theirs through entry points of this group."""
