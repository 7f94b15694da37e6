"""The wheel as an index and its users meet it: built, looked into, installed outside of the checkout, and run."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from fnmatch import fnmatch
from pathlib import Path

import pytest

from testing.commands import extract
from testing.package.only_the_core import hook
from testing.whole_call import make_call

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = "earwitness/speech/codecs/native_code/libspeex_plain.so"
TEXTS = {
    "Apache-2.0": "LICENSE",
    "BSD-3-Clause": "LICENSES/libspeex.txt",
    "TU-Berlin-1.0": "LICENSES/libspeex.txt",
    "CC-BY-3.0": "LICENSES/CC-BY-3.0.txt",
    "CC-BY-SA-3.0": "LICENSES/CC-BY-SA-3.0.txt",
}
SAYS = {
    "Apache-2.0": "Apache License",
    "BSD-3-Clause": "Neither the name of the Xiph.org Foundation nor the names of its",
    "TU-Berlin-1.0": "neither the authors nor the Technische Universitaet Berlin",
    "CC-BY-3.0": "Attribution 3.0 Unported",
    "CC-BY-SA-3.0": "Attribution-ShareAlike 3.0 Unported",
}


def build(source: Path, kind: str, out: Path, **environment: str) -> Path:
    """Built by hatchling as it is installed: no network."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(out)],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, "sdist", tmp_path_factory.mktemp("sdist"))


@dataclass(frozen=True)
class Contents:
    files: dict[str, bytes]
    metadata: Message
    info: str
    """The folder of the metadata."""

    def licence(self, name: str) -> str:
        return self.files[f"{self.info}/licenses/{name}"].decode()


@pytest.fixture(scope="module")
def contents(wheel: Path) -> Contents:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (path,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    return Contents(files, message_from_string(files[path].decode()), path.rpartition("/")[0])


def test_one_wheel_serves_every_python_of_a_platform_and_an_index_takes_its_tag(wheel: Path) -> None:
    name = re.fullmatch(r"earwitness-[\d.]+-py3-none-manylinux_2_(\d+)_(\w+)\.whl", wheel.name)
    assert name, f"{wheel.name}: without a C compiler and libspeex-dev there is no library in it (tools/setup)"
    assert name[2] == platform.machine()
    shown = subprocess.run([sys.executable, "-m", "auditwheel", "show", str(wheel)], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    # auditwheel knows some versions only, and names the next one.
    said = re.search(r'"manylinux_2_(\d+)_\w+"', shown.stdout)
    assert said, shown.stdout
    symbols = [int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", shown.stdout)]
    assert max(symbols) == int(name[1]) <= int(said[1])


def test_a_wheel_without_the_library_is_for_any_platform(tmp_path: Path) -> None:
    built = build(REPOSITORY, "wheel", tmp_path, CC="false")
    assert re.fullmatch(r"earwitness-[\d.]+-py3-none-any\.whl", built.name)
    with zipfile.ZipFile(built) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]


def test_the_source_distribution_has_no_binary_and_gives_the_same_wheel(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if name.endswith((".so", ".pyc"))]
        extract(archive, tmp_path)
    (source,) = tmp_path.iterdir()
    again = build(source, "wheel", tmp_path / "wheel")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_licence_expression_is_met_by_texts_in_the_wheel(contents: Contents) -> None:
    expression = contents.metadata["License-Expression"]
    assert set(expression.split(" AND ")) == set(TEXTS)
    assert {*TEXTS.values(), "NOTICE"} == set(contents.metadata.get_all("License-File", []))
    for identifier, file in TEXTS.items():
        assert SAYS[identifier] in contents.licence(file)
        assert contents.licence(file) == (REPOSITORY / file).read_text()


def test_notice_names_every_file_that_others_made(contents: Contents) -> None:
    notice = contents.licence("NOTICE")
    patterns = re.findall(r"earwitness/[\w/*.-]+\.(?:so|flac|txt|md)", notice)
    for pattern in patterns:
        assert any(fnmatch(name, pattern) for name in contents.files), f"NOTICE names {pattern}, which is not there"
    plain = (".py", ".c", ".css", ".js", ".j2", ".toml", ".json", "py.typed", "bundle-Makefile", "bundle-README.md")
    others = [name for name in contents.files if name.startswith("earwitness/") and not name.endswith(plain)]
    assert LIBRARY in others
    assert [name for name in others if not any(fnmatch(name, pattern) for pattern in patterns)] == []
    for path in re.findall(r"LICENSES/[\w.-]+\.txt", notice):
        assert contents.licence(path)


def test_the_speech_is_under_the_licences_that_the_package_names(contents: Contents) -> None:
    manifest = json.loads(contents.files["earwitness/speech/data/manifest.json"])
    licences = set(re.findall(r'"licence": "([^"]+)"', json.dumps(manifest)))
    assert {name.replace(" ", "-") for name in licences} == {"CC-BY-3.0", "CC-BY-SA-3.0"}
    assert "earwitness/speech/data/ATTRIBUTION.md" in contents.files


def test_metadata_say_who_and_hold_nothing_that_an_index_refuses(contents: Contents) -> None:
    found = contents.metadata
    assert found["Metadata-Version"] == "2.4"
    assert found["Author"] == "The Earwitness developers"
    citation = (REPOSITORY / "CITATION.cff").read_text()
    assert f"\nversion: {found['Version']}\n" in citation
    assert f"  - name: {found['Author']}\n" in citation
    assert not [line for line in found.get_all("Classifier", []) if line.startswith("License ::")]
    assert {"all", "cluster", "data", "lab", "query", "report", "watch"} <= set(found.get_all("Provides-Extra", []))
    assert {name.partition("/")[0] for name in contents.files} == {"earwitness", contents.info}


@dataclass(frozen=True)
class Installed:
    """The core, where nothing but what it declares can be imported."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "core" / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def core(wheel: Path, contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-compile", "--target", str(folder / "core"), str(wheel)], check=True)
    requirements = [line for line in contents.metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(hook(requirements))
    path = os.pathsep.join(str(folder / name) for name in ("core", "hook"))
    make_call(folder)
    return Installed(folder, {**os.environ, "PYTHONPATH": path, "COLUMNS": "120"})


def test_what_runs_is_the_wheel_without_anything_undeclared(core: Installed) -> None:
    script = "import earwitness.errors, importlib; print(earwitness.errors.__file__); importlib.import_module('pandas')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=core.folder,
        env=core.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert Path(done.stdout.strip()).is_relative_to(core.folder / "core")
    assert "the core does not declare it" in done.stderr


def test_the_core_times_a_capture(core: Installed) -> None:
    done = core.run("earwitness", "timing", "call.pcap", "--json")
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, done.stdout.splitlines())
    assert record["packets_expected"] - record["packets_received"] == record["packets_lost"] == 1
    assert core.run("earwitness", "timing", "call.pcap").returncode == 0


def test_the_core_hears_a_capture_and_scores_it(core: Installed) -> None:
    done = core.run("earwitness", "hear", "call.pcap", "--reference", "carlo-10s", "--out", "heard.wav", "--json")
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, done.stdout.splitlines())
    assert record["mos_lqo"] > 4
    assert 0 < record["concealed_ratio"] < 0.01
    scored = core.run("earwitness", "score", "said.wav", "heard.wav")
    assert scored.returncode == 0, scored.stderr
    mos_lqo = float(scored.stdout.splitlines()[0].split()[-1])
    assert mos_lqo == pytest.approx(record["mos_lqo"], abs=0.3)


def test_the_core_examines_the_machine(core: Installed) -> None:
    done = core.run("earwitness", "doctor", "--json")
    checks = {check["name"]: check for check in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == any(check["required"] and not check["ok"] for check in checks.values()), done.stderr
    assert checks["Python packages"]["ok"]
    assert checks["libspeex without SSE"]["ok"]
    assert "extra report" in checks


def test_the_core_says_what_the_rest_needs(core: Installed) -> None:
    done = core.run("earwitness", "report", "data")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("pip install 'earwitness[report]'")
