"""Who may join a cluster: over real TLS, with a real scheduler on the loopback."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from distributed import Scheduler

from earwitness.cluster.agreement import agreement
from earwitness.cluster.dask import AGREEMENT, LOOPBACK_ONLY, cluster_address, join, use_our_settings
from earwitness.cluster.keys import ClusterKeys, make_cluster_keys
from earwitness.errors import EarwitnessError, InputError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_cluster_keys(folder / "ours", ("Frankfurt", "New York"))
    make_cluster_keys(folder / "theirs", ("Frankfurt",))
    return folder


def joined(keys: Path, own: Path, says: Any) -> dict[str, Any]:
    """What a client that joins a scheduler of ours is told, whose metadata say that."""

    async def scene() -> dict[str, Any]:
        use_our_settings()
        security = ClusterKeys.read(keys / "ours" / "scheduler").security()
        scheduler = Scheduler(
            host="127.0.0.1", port=0, protocol="tls", security=security, dashboard_address=LOOPBACK_ONLY
        )
        async with scheduler:
            if says is not None:
                scheduler.set_metadata([AGREEMENT], says)
            client = await join(scheduler.address, ClusterKeys.read(own), 20.0)
            try:
                return dict(await client.get_metadata(AGREEMENT))
            finally:
                await client.close()

    return asyncio.run(scene())


def test_every_machine_has_a_folder_whose_key_is_its_own(keys: Path) -> None:
    names = {path.name for path in (keys / "ours").iterdir()}
    assert names == {"authority", "scheduler", "client", "vantage-frankfurt", "vantage-new-york"}
    private = list((keys / "ours").rglob("*.key"))
    assert len(private) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert len({path.read_text() for path in private}) == 5


def test_a_further_vantage_is_of_the_same_cluster(keys: Path) -> None:
    (made,) = make_cluster_keys(keys / "ours", ("London",))
    assert joined(keys, made, agreement()) == agreement()
    for vantages in ((), ("london",), ("../x",), ("Oslo", "oslo")):
        with pytest.raises(InputError):
            make_cluster_keys(keys / "ours", vantages)
    assert not (keys / "ours" / "vantage-oslo").exists()


def test_a_key_that_others_may_read_is_not_used(keys: Path) -> None:
    (made,) = make_cluster_keys(keys / "ours", ("Open",))
    (made / "private.key").chmod(0o644)
    with pytest.raises(InputError, match="others can read"):
        ClusterKeys.read(made)


def test_a_certificate_of_another_authority_is_refused(keys: Path) -> None:
    with pytest.raises(InputError, match="does not accept"):
        joined(keys, keys / "theirs" / "client", agreement())


def test_a_certificate_that_only_knows_our_authority_is_refused(keys: Path) -> None:
    own = keys / "theirs" / "vantage-frankfurt"
    theirs = (own / "ca.pem").read_text()
    try:
        (own / "ca.pem").write_text((keys / "ours" / "client" / "ca.pem").read_text())
        with pytest.raises(InputError, match="does not accept"):
            joined(keys, own, agreement())
    finally:
        (own / "ca.pem").write_text(theirs)


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (None, "not Earwitness's"),
        ({**agreement(), "sources": "0123456789ab"}, "sources 0123456789ab there"),
        ({**agreement(), "numpy": "1.0"}, "numpy 1.0 there"),
    ],
)
def test_another_earwitness_is_refused_in_one_line(keys: Path, says: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as refused:
        joined(keys, keys / "ours" / "client", says)
    assert "\n" not in str(refused.value)


def test_a_scheduler_that_is_not_there_is_told(keys: Path) -> None:
    async def scene() -> None:
        use_our_settings()
        await join("tls://127.0.0.1:9", ClusterKeys.read(keys / "ours" / "client"), 1.0)

    with pytest.raises(EarwitnessError, match="cluster schedule") as missing:
        asyncio.run(scene())
    assert not isinstance(missing.value, InputError)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tls://192.0.2.7:8786", "tls://192.0.2.7:8786"),
        ("192.0.2.7", "tls://192.0.2.7:8786"),
        ("host.example:1234", "tls://host.example:1234"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert cluster_address(text) == address


@pytest.mark.parametrize("text", ["tcp://192.0.2.7:8786", "", "tls://192.0.2.7:port", "tls://192.0.2.7/x"])
def test_what_is_no_protected_address(text: str) -> None:
    with pytest.raises(InputError):
        cluster_address(text)
