"""A real Prometheus that scrapes a real `earwitness watch`, and promtool's word on what it is given."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from bench.commands import started, until
from bench.measure import Measurement
from testing.commands import EARWITNESS
from testing.study.files import study_file

STUDY = study_file("scraped", "[call]\nseconds = 4.0\n[watch]\nevery_min = 0.3\n", codecs=["g711u", "gsm"])
_TIMEOUT_S = 120.0
_REMEDY = (
    "install Debian's package prometheus, or unpack it and set EARWITNESS_PROMETHEUS to the folder of its programs"
)


def bench_scrape() -> list[Measurement]:
    """Bar 8 of studies: the metrics of three calls, as Prometheus has them."""
    server, promtool = _program("prometheus"), _program("promtool")
    if server is None or promtool is None:
        return [Measurement("not measured: Prometheus is not here", 0, "", note=_REMEDY)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        metrics, here = _free_port(), _free_port()
        (folder / "watch.toml").write_text(STUDY)
        scrape = {"job_name": "earwitness", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}
        # JSON is YAML.
        (folder / "p.yml").write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
        watch = [*EARWITNESS, "watch", str(folder / "watch.toml"), "--out", str(folder / "out")]
        watch += ["--metrics", f"127.0.0.1:{metrics}"]
        scraping = [server, f"--config.file={folder / 'p.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        scraping += [f"--web.listen-address=127.0.0.1:{here}"]
        environment = {**os.environ, "EARWITNESS_RUNTIME": str(folder / "runtime")}
        with (
            started(watch, env=environment, stderr=subprocess.DEVNULL) as watching,
            started(scraping, stderr=subprocess.DEVNULL),
        ):

            def calls() -> float:
                return _query(here, 'sum(earwitness_calls_total{outcome="completed"})')

            until(lambda: calls() >= 3, _TIMEOUT_S, watching)
            seen = calls()
            text = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10).read()
            checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
            said = (checked.stdout + checked.stderr).decode()
            return [
                Measurement("target up", _query(here, "up"), "", 1, at_most=False),
                Measurement("completed calls that Prometheus has", seen, "calls", 3, at_most=False),
                Measurement("its median MOS-LQO", _query(here, _quantile("earwitness_mos_lqo")), "MOS", 3.0, False),
                Measurement("its median delay", _query(here, _quantile("earwitness_one_way_delay_seconds")), "s", 0.05),
                Measurement("time of a scrape", _query(here, "max_over_time(scrape_duration_seconds[1m])"), "s", 0.5),
                Measurement("samples a scrape", _query(here, "scrape_samples_scraped"), "samples"),
                Measurement("lines of complaint of promtool", len(said.splitlines()), "lines", 0, note=said[:80]),
            ]


def _program(name: str) -> str | None:
    folder = os.environ.get("EARWITNESS_PROMETHEUS", "")
    return shutil.which(name, path=f"{folder}:{os.environ.get('PATH', '')}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _quantile(metric: str) -> str:
    return f"histogram_quantile(0.5, sum by (le) ({metric}_bucket))"


def _query(port: int, expression: str) -> float:
    """The value of an instant query of one series; 0 where there is none yet."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        answer: dict[str, Any] = json.loads(urllib.request.urlopen(url, timeout=10).read())
    except OSError:
        return 0.0
    found = answer["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0
