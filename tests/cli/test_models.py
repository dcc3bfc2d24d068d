"""The commands `framehouse models pull`, `models list` and `models plan`, with a local fake of the Hugging Face hub."""

import hashlib
import json
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from framehouse.engines.diffusers.loras import Lora
from framehouse.engines.diffusers.weights import find_weights
from tests.support.command_line import FRAMEHOUSE, environment, run, run_json

COMMIT = "c" * 40
REPOSITORY = "black-forest-labs/FLUX.2-klein-4B"
WEIGHTS = "transformer/model.safetensors"
INDEX = {"_class_name": "Flux2KleinPipeline", "scheduler": ["diffusers", "S"], "transformer": ["diffusers", "T"]}
FILES = {
    "model_index.json": json.dumps(INDEX).encode(),
    "scheduler/scheduler_config.json": b"{}",
    "transformer/config.json": b'{"a": 1}',
    WEIGHTS: random.Random(7).randbytes(3_000_000),
    "transformer/model.fp16.safetensors": b"the same weights in half precision",
    "flux-2-klein-4b.safetensors": b"the same weights for other programs",
    "README.md": b"# Read me",
    "transformer/danger.bin": b"a pickle",
}
SMALL_FILES_BYTES = sum(
    len(FILES[p]) for p in ("model_index.json", "scheduler/scheduler_config.json", "transformer/config.json")
)


@dataclass
class Hub:
    """The requests that the hub received, and its faults.

    `sent` lists the path, the first byte and the number of bytes of each download, also if the client disconnects
    early. `cut_at`: the first download of the weights ends at this byte. `slow`: the weights are sent slowly. `wrong`:
    the weights do not match their checksum. `gated`: every request is refused because the model is gated.
    """

    url: str = ""
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    cut_at: int = 0
    slow: bool = False
    wrong: bool = False
    gated: bool = False

    def sent_of(self, path: str) -> list[tuple[int, int]]:
        """The first byte and the number of bytes of each download of this file."""
        return [(start, count) for name, start, count in self.sent if name == path]


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.tokens.add(self.headers.get("Authorization"))
            if state.gated:
                self.answer(401, b"{}", {"X-Error-Code": "GatedRepo"})
            elif self.path == f"/api/models/{REPOSITORY}/revision/main":
                self.answer(200, json.dumps({"sha": COMMIT}).encode())
            elif self.path == f"/api/models/{REPOSITORY}/tree/{COMMIT}?recursive=true":
                first_page, second_page = dict(list(FILES.items())[:2]), dict(list(FILES.items())[2:])
                self.answer(200, entries(first_page), {"Link": f'<{state.url}/next>; rel="next"'})
                assert second_page
            elif self.path == "/next":
                self.answer(200, entries(dict(list(FILES.items())[2:])))
            elif self.path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
                self.answer(302, b"", {"Location": f"{state.url}/files/{self.path.split(COMMIT + '/')[1]}"})
            elif self.path.startswith("/files/"):
                self.file(self.path.removeprefix("/files/"))
            elif self.path.startswith(f"/api/models/{REPOSITORY}/"):
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            else:
                self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})

        def file(self, path: str) -> None:
            content = FILES[path]
            if state.wrong and path == WEIGHTS:
                content = bytes(len(content))
            start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["", "0"])[1])
            end = len(content)
            if path == WEIGHTS and state.cut_at and not start:
                end = state.cut_at
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            state.sent.append((path, start, end - start))  # first, because the client may exit after the last byte
            try:
                for offset in range(start, end, 50_000):
                    self.wfile.write(content[offset : min(end, offset + 50_000)])
                    if state.slow and path == WEIGHTS:
                        time.sleep(0.05)
            except OSError:
                pass
            self.close_connection = True

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def entries(files: dict[str, bytes]) -> bytes:
    """The JSON list of files, as the hub returns it."""
    listed: list[dict[str, Any]] = [{"type": "directory", "path": "transformer", "oid": "0", "size": 0}]
    for path, content in files.items():
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        large = path.endswith(".safetensors")
        listed.append(
            {"type": "file", "path": path, "oid": oid, "size": len(content)} | ({"lfs": lfs} if large else {})
        )
    return json.dumps(listed).encode()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "hf"


def test_a_pull_downloads_only_the_files_that_the_pipeline_needs(hub: Hub, home: Path) -> None:
    done = run("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url, HF_TOKEN="secret")
    assert "is complete: 3.0 MB" in done.stdout
    assert "Apache-2.0" in done.stdout
    assert hub.tokens == {"Bearer secret"}
    weights = find_weights(REPOSITORY)
    assert weights
    assert (weights.missing, weights.revision, weights.pipeline) == ("", COMMIT, "Flux2KleinPipeline")
    files = sorted(p.relative_to(weights.folder).as_posix() for p in weights.folder.rglob("*") if p.is_file())
    assert files == ["model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", WEIGHTS]
    assert (weights.folder / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert (weights.folder / WEIGHTS).is_symlink()
    hub.sent.clear()
    repeated = run_json("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url)
    assert repeated["fetched_bytes"] == 0
    assert hub.sent_of(WEIGHTS) == []


def test_a_pull_resumes_a_broken_download_at_the_same_byte(hub: Hub, home: Path) -> None:
    hub.cut_at = 1_000_000
    pulled = run_json("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url)
    assert hub.sent_of(WEIGHTS) == [(0, 1_000_000), (1_000_000, 2_000_000)]
    assert pulled["fetched_bytes"] == pulled["size_bytes"] == 3_000_000 + SMALL_FILES_BYTES


def test_the_next_pull_resumes_an_interrupted_pull(hub: Hub, home: Path) -> None:
    hub.slow = True
    words = [*FRAMEHOUSE, "models", "pull", REPOSITORY]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(HF_ENDPOINT=hub.url)
    ) as process:
        partial = f"hub/*/blobs/{hashlib.sha256(FILES[WEIGHTS]).hexdigest()}.incomplete"
        end = time.monotonic() + 90
        while not (parts := list(home.glob(partial))) or parts[0].stat().st_size < 1_000_000:
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    (listed,) = run_json("models", "list") or [{"missing": "all"}]
    assert listed["missing"]
    downloaded = parts[0].stat().st_size
    assert downloaded >= 1_000_000
    hub.slow = False
    pulled = run_json("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url)
    assert pulled["fetched_bytes"] <= 3_000_000 - downloaded + SMALL_FILES_BYTES
    assert hub.sent_of(WEIGHTS)[-1] == (downloaded, 3_000_000 - downloaded)
    weights = find_weights(REPOSITORY)
    assert weights
    assert (weights.folder / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_a_damaged_download_is_removed(hub: Hub, home: Path) -> None:
    hub.wrong = True
    errors = run("models", "pull", REPOSITORY, code=1, HF_ENDPOINT=hub.url).stderr
    assert f"{WEIGHTS} was damaged and was removed" in errors
    assert find_weights(REPOSITORY) is None
    hub.wrong = False
    run("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url)


@pytest.mark.parametrize("path", [WEIGHTS, "transformer/config.json"])
def test_a_damaged_local_file_is_removed_and_downloaded_again(hub: Hub, home: Path, path: str) -> None:
    run("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url)
    weights = find_weights(REPOSITORY)
    assert weights
    content = FILES[path]
    (weights.folder / path).resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    output = run_json("models", "pull", REPOSITORY, code=1, HF_ENDPOINT=hub.url)
    assert output["error"]["message"] == f"Damaged files were removed: {path}. Pull again to download them."
    assert run_json("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url)["fetched_bytes"] == len(content)
    assert (weights.folder / path).read_bytes() == content


def test_the_message_of_a_failed_pull_names_the_cause(hub: Hub, home: Path) -> None:
    def errors(*words: str, code: int = 1, **extra: str) -> str:
        return run("models", "pull", *words, code=code, **({"HF_ENDPOINT": hub.url} | extra)).stderr

    assert "is not the name of a repository" in errors("klein", code=2)
    assert "There is no some/thing on" in errors("some/thing")
    assert "has no such revision" in errors(REPOSITORY, "--revision", "v9")
    assert "Cannot reach http://127.0.0.1:1" in errors(REPOSITORY, HF_ENDPOINT="http://127.0.0.1:1")
    hub.gated = True
    assert "is gated: accept its licence" in errors(REPOSITORY)


def test_the_list_shows_local_weights_and_the_models_that_use_them(hub: Hub, home: Path, tmp_path: Path) -> None:
    assert f"To download weights: framehouse models pull {REPOSITORY}" in run("models", "list").stdout
    assert run_json("models", "list") == []
    run("models", "pull", REPOSITORY, HF_ENDPOINT=hub.url)
    (tmp_path / "framehouse.toml").write_text('[models."kling-v3-omni"]\nroutes = [{ engine = "diffusers" }]\n')
    words: list[str | Path] = ["models", "list", "--config", tmp_path / "framehouse.toml"]
    (row,) = run_json(*words)
    assert row["models"] == ["kling-v3-omni"]
    assert (row["repository"], row["missing"], row["in_table"]) == (REPOSITORY, "", True)
    output = run(*words).stdout
    assert re.search(r"FLUX.2-klein-4B\s+main\s+3.0 MB\s+complete\s+4 steps, guidance 1, 4 references", output)
    weights = find_weights(REPOSITORY)
    assert weights
    (weights.folder / WEIGHTS).unlink()
    assert run_json(*words)[0]["missing"] == "transformer/*.safetensors"


def test_a_pull_of_a_file_downloads_only_this_file(hub: Hub, home: Path) -> None:
    file = "flux-2-klein-4b.safetensors"
    pulled = run_json("models", "pull", f"{REPOSITORY}/{file}", HF_ENDPOINT=hub.url)
    assert [path for path, _, _ in hub.sent] == [file]
    assert pulled["repository"] == REPOSITORY
    assert Lora(f"{REPOSITORY}/{file}").find_file().read_bytes() == FILES[file]
    errors = run("models", "pull", f"{REPOSITORY}/other.safetensors", code=1, HF_ENDPOINT=hub.url).stderr
    assert f"{REPOSITORY} contains no file other.safetensors." in errors
    errors = run("models", "pull", f"{REPOSITORY}/transformer/danger.bin", code=2, HF_ENDPOINT=hub.url).stderr
    assert "is not the name of a repository" in errors


def test_the_list_shows_loras_and_the_models_that_use_them(home: Path, tmp_path: Path) -> None:
    repository = home / "hub" / "models--some--lora"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "style.safetensors").write_bytes(b"weights")
    loras = 'loras = [{ path = "some/lora/style.safetensors" }]'
    settings = f'[models."kling-v3-omni"]\nroutes = [{{ engine = "diffusers", {loras} }}]\n'
    (tmp_path / "framehouse.toml").write_text(settings)
    (row,) = run_json("models", "list", "--config", tmp_path / "framehouse.toml")
    assert (row["repository"], row["missing"], row["models"]) == ("some/lora", "", ["kling-v3-omni"])


def recommended(plan: dict[str, Any]) -> tuple[Any, ...]:
    (row,) = [row for row in plan["combinations"] if row["recommended"]]
    return row["quantize"], row["offload"], row["batch"], row["tiled"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((REPOSITORY, "--vram", "24"), (None, None, 4, False)),
        ((REPOSITORY, "--vram", "24", "--batch", "16"), ("int8", None, 16, False)),
        ((REPOSITORY, "--vram", "16"), ("int8", None, 4, False)),
        ((REPOSITORY, "--vram", "16", "--resolution", "2k", "--batch", "1"), ("int8", None, 1, False)),
        ((REPOSITORY, "--vram", "12", "--resolution", "2k", "--batch", "1"), ("int8", None, 1, True)),
        ((REPOSITORY, "--vram", "8"), ("int8", "model", 4, False)),
        (("Qwen/Qwen-Image-Edit-2511", "--vram", "24"), ("nf4", None, 4, False)),
    ],
)
def test_a_plan_recommends_the_fastest_options_that_fit(
    home: Path, words: tuple[str, ...], expected: tuple[Any, ...]
) -> None:
    assert recommended(run_json("models", "plan", *words)) == expected


def test_a_plan_shows_the_lines_to_copy(home: Path) -> None:
    output = run("models", "plan", REPOSITORY, "--vram", "8", "--batch", "2").stdout
    assert "16.0 GB of 16-bit weights (of the published model). Licence: Apache-2.0." in output
    assert re.search(r"^nf4 +- +5\.0 +2\.5 +7\.5 +- +yes \(fastest\)", output, re.MULTILINE)
    route = f'routes = [{{ engine = "diffusers", model = "{REPOSITORY}", quantize = "nf4", batch = 2 }}]'
    assert f'[models."kling-v3-omni"]\n{route}\n' in output
    assert "pip install bitsandbytes" in output
    assert "were not compared with a GPU" in output
    too_small = run("models", "plan", REPOSITORY, "--vram", "2").stdout
    assert "No combination fits" in too_small
    assert "routes" not in too_small


def test_a_plan_reads_the_sizes_of_other_models_from_their_files(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "transformer").mkdir(parents=True)
    (folder / "scheduler").mkdir()
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1000, 1_500_000], "data_offsets": [0, 0]}}).encode()
    (folder / "transformer" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    plan = run_json("models", "plan", str(folder), "--vram", "24")
    assert (plan["model"], plan["pipeline"], plan["weights_gb"]) == ("model", "Flux2KleinPipeline", 3.0)
    assert [row["weights_gb"] for row in plan["combinations"][:4]] == [3.0, 1.5, 1.5, 0.94]
    (folder / "transformer" / "model.safetensors").unlink()
    (folder / "transformer" / "config.json").write_text("{}")
    errors = run("models", "plan", str(folder), "--vram", "24", code=1).stderr
    assert "The size of model is unknown, because transformer/*.safetensors is missing" in errors


def test_the_message_of_a_failed_plan_names_the_cause(home: Path) -> None:
    unknown = run("models", "plan", "some/thing", "--vram", "24", code=1).stderr
    assert "The size of some/thing is unknown, because it is not on this machine" in unknown
    assert "framehouse models pull some/thing" in unknown
    assert "neither a repository" in run("models", "plan", "klein", code=2).stderr
    assert "Add the memory of the GPU" in run("models", "plan", REPOSITORY, code=1, CUDA_VISIBLE_DEVICES="").stderr
