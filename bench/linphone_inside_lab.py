"""Run inside a sandbox: the built-in phone calls linphone over a jittery link, every codec, several rounds.

Leaves a capture at linphone's end and linphone's own recording for each call; their paths as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from earwitness.capture.live import CaptureProcess, epoch_offset_ns
from earwitness.lab.lab import Lab
from earwitness.lab.plan import LabPlan
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.linphone import LinphonePhone
from earwitness.phone.setup import PhoneSetup

CODECS = ("g711u", "gsm", "speex", "opus:24000")


async def one_call(lab: Lab, folder: Path, codec: str, number: int, buffer_ms: int) -> dict[str, str]:
    """One call with ports of its own, so that the codecs go at the same time over the same link."""
    step = 10 * CODECS.index(codec)
    stem = f"{codec.partition(':')[0]}-{number}"
    offset_ns = epoch_offset_ns()
    caller, callee = lab.host("caller"), lab.host("callee")
    ours, theirs = (
        PhoneSetup(
            address=host.address, epoch_offset_ns=offset_ns, codec=codec, sip_port=5060 + step, rtp_port=4000 + step
        )
        for host in (caller, callee)
    )
    pcap, recording = folder / f"{stem}.pcap", folder / f"{stem}.wav"
    ports = [theirs.sip_port, theirs.rtp_port]
    async with (
        await CaptureProcess.start(callee, callee.interface, pcap, epoch_offset_ns=offset_ns, ports=ports),
        LinphonePhone.start(callee, theirs, recording, fixed_buffer_ms=buffer_ms) as linphone,
        BuiltinPhone.start(caller, ours) as phone,
    ):
        await linphone.listen()
        await phone.call(linphone.uri, 15)
        await phone.finish(1.0)
        await linphone.wait_ended(5)
    return {"codec": codec, "capture": str(pcap), "recording": str(recording), "to": callee.address}


async def main(folder: Path, rounds: int, link: str, buffer_ms: int) -> None:
    async with Lab.started(LabPlan(with_tor=False, links={"caller-callee": link})) as lab:
        for number in range(rounds):
            lab.arrange(seed=number + 1)
            for call in await asyncio.gather(*(one_call(lab, folder, codec, number, buffer_ms) for codec in CODECS)):
                print(json.dumps(call), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
