"""A call of which one phone's report cannot be read is stored as failed, with one line and the evidence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from earwitness.archive.record import read_record, write_record
from earwitness.call.builder import CallBuilder
from earwitness.call.evaluate import evaluate
from earwitness.call.plan import CallPlan
from earwitness.call.talk import collect
from earwitness.netns.child import ChildGone
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.setup import PhoneSetup
from testing.remote.hostile import REPORT, SETUP


@dataclass
class Child:
    """A phone's process on another machine, as its answers come over the channel."""

    report: Any
    pid: int = 0
    events: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    def send(self, message: Mapping[str, Any]) -> None:
        if "address" in message:
            self.events.put_nowait({"event": "ready", "uri": "sip:callee@192.0.2.7"})
        else:
            value = self.report if message["do"] == "report" else None
            self.events.put_nowait({"event": "reply", "id": message["id"], "value": value})

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        return await self.events.get()

    def close_stdin(self) -> None:
        raise ChildGone("talking to", "it", "it ended", "no more")

    async def close(self, grace_s: float = 5.0) -> None:
        """It has none."""


class End:
    async def within_reach(self) -> None:
        """It is."""


@pytest.mark.parametrize(
    "report",
    [
        7,
        {**REPORT, "packets_received": 10**400},
        {**REPORT, "milestones": {"answered": "now"}},
        {**REPORT, "jitter_ms": float("nan"), "codec": "\ud800"},
        {"uri": "x" * 5_000_000},
    ],
)
def test_a_strange_report_is_a_stored_failure(tmp_path: Path, report: Any) -> None:
    async def scene() -> Any:
        builder = CallBuilder("call-1", CallPlan(path="direct"), "public", started_at="2026-01-01T00:00:00.000000000Z")
        async with contextlib.AsyncExitStack() as stack:
            phones = {
                name: await stack.enter_async_context(BuiltinPhone.over(Child(told), PhoneSetup.from_dict(SETUP)))
                for name, told in (("caller", REPORT), ("callee", report))
            }
            failure = await collect({name: End() for name in phones}, phones, {}, builder)  # type: ignore[misc]
        assert failure is not None
        return builder.placed(failure.outcome, failure)

    record = evaluate(asyncio.run(scene()), tmp_path)
    write_record(tmp_path, record)
    stored = read_record(tmp_path)
    assert stored.outcome == "failed"
    assert stored.outcome_detail.startswith("reading the report of phone sip:callee@192.0.2.7: it is malformed:")
    assert len(stored.outcome_detail) < 500
    assert "report" in stored.evidence
    assert (tmp_path / "record.json").stat().st_size < 200_000
