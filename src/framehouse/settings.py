"""Every setting with its meaning; read once, then frozen. docs/settings.md lists them, and a test compares.

Later wins: defaults, framehouse.toml, FRAMEHOUSE_<NAME>_FILE, FRAMEHOUSE_<NAME>, the command line.
"""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from framehouse.domain.model import Model
from framehouse.domain.pricing import DEFAULT_UNITS
from framehouse.domain.request import url_problem

PREFIX = "FRAMEHOUSE_"
CONFIG_NAME = "framehouse.toml"


class BadSettings(Exception):
    """A setting is wrong; the message names it and what is allowed."""


class ModelSettings(BaseModel):
    """One model: who paints it, what it offers, what it costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    routes: list[dict[str, Any]] = Field(
        default=[{"engine": "previz"}],
        description="Engines in order of preference, each `engine` and its own options. "
        "The next is asked when one is unavailable.",
    )
    units: dict[Literal["1k", "2k", "4k"], Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        default=dict(DEFAULT_UNITS),  # type: ignore[arg-type]
        description="Units per image by resolution; what is not named costs the default.",
    )
    resolutions: list[Literal["1k", "2k", "4k"]] = Field(
        default=["1k", "2k", "4k"], min_length=1, description="Which resolutions the model serves."
    )
    series: bool = Field(default=True, description="Whether the model makes series.")


_MODELS = {
    "kling-v3-omni": ModelSettings(),
    "kling-image-o1": ModelSettings(resolutions=["1k", "2k"], series=False),
}


class Settings(BaseSettings):
    """The names here are the keys of framehouse.toml; with FRAMEHOUSE_ before them, the environment's."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("framehouse", appauthor=False),
        description="Holds everything local: the embedded database, the pictures, framehouse.toml.",
    )
    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port that the API listens on; 0 takes a free one.")
    public_url: str = Field(
        default="",
        description="How clients reach this server, for image URLs. "
        "Empty: the host that the client asked; in callbacks, `host` and `port`.",
    )
    path_prefixes: list[str] = Field(
        min_length=1,
        default=["/kling", "", "/proxy/kling"],
        description="The API's paths are served under each of these.",
    )
    database_url: str = Field(
        default="", description="A PostgreSQL server, 14 or newer. Empty: the embedded one in the data folder."
    )
    direct_database_url: str = Field(
        default="",
        description="Where `database_url` leads through a pooler: the same database past it.",
    )
    storage_url: str = Field(
        default="",
        description="Where pictures are kept: file:///folder, s3://bucket/prefix, gs://… or az://…. "
        "Empty: `files` in the data folder.",
    )
    image_delivery: Literal["serve", "redirect"] = Field(
        default="serve",
        description="Whether image URLs answer with the bytes, or send clients to a bucket by a presigned URL.",
    )
    models: dict[Annotated[str, Field(min_length=1, max_length=200)], ModelSettings] = Field(
        default=_MODELS, min_length=1, description="The models that are served, by name; replaces the default ones."
    )
    image_format: Literal["png", "jpeg", "webp"] = Field(default="png", description="File format of pictures.")
    image_quality: int = Field(default=92, ge=1, le=100, description="Quality of jpeg and webp.")
    watermark_text: str = Field(
        default="AI generated", min_length=1, max_length=60, description="Text on the watermarked copy."
    )
    watermark_logo: Path | None = Field(
        default=None, description="An image with transparency, instead of the text on the watermarked copy."
    )
    retention_days: float = Field(
        default=30, gt=0, le=36500, description="How long pictures are kept after their task ended."
    )
    history_days: float = Field(
        default=365,
        gt=0,
        le=36500,
        description="How long tasks can be asked for after their pictures were removed; "
        "then only their `external_task_id` stays taken.",
    )
    worker_concurrency: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Batches that one worker has in hand at once; 0: as many as its engines make at once.",
    )
    worker_labels: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = Field(
        default={},
        description="Labels of this machine's workers and their values; a route that `needs` some is painted only by "
        "workers that have them. `framehouse worker --label` takes their place.",
    )
    lease_s: float = Field(
        default=30,
        ge=2,
        le=3600,
        description="A worker that does not renew within this many seconds loses its work; "
        "one that hangs as long, and 10 seconds at least, is replaced.",
    )
    stop_s: float = Field(
        default=30,
        ge=0,
        le=3600,
        description="Seconds to finish what is in hand when stopped; the rest is handed back.",
    )
    attempts: int = Field(default=5, ge=1, le=100, description="A batch whose workers died this often fails its task.")
    give_up_after_s: float = Field(
        default=3600, gt=0, description="Seconds after which a task that no engine would take fails."
    )
    max_body_bytes: int = Field(default=150_000_000, ge=1000, description="Largest request body.")
    requests_per_second: float = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Requests per second that each account may make of one API process; 0: no limit.",
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Whether references may come from, and callbacks go to, private addresses. For development.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is logged.")
    log_format: Literal["text", "json"] = Field(
        default="text", description="Log lines for people, or each as a JSON object."
    )
    worker_metrics_host: str = Field(
        default="127.0.0.1", description="Address at which a worker tells its own metrics, which ask for no key."
    )
    worker_metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port at which a worker tells them; 0: none, but `serve` has them in its own `/metrics`.",
    )
    otlp_endpoint: str = Field(
        default="",
        description="Base URL of a collector that takes traces by OTLP over HTTP. "
        "Empty: as OTEL_EXPORTER_OTLP_ENDPOINT says; no traces where it says nothing.",
    )
    trace_ratio: float = Field(default=1.0, ge=0, le=1, description="Share of the tasks that are traced.")

    @field_validator("public_url", "otlp_endpoint")
    @classmethod
    def _url(cls, url: str) -> str:
        if url and (problem := url_problem(url)):
            raise ValueError(problem)
        return url

    @model_validator(mode="after")
    def _direct(self) -> "Settings":
        if self.direct_database_url and not self.database_url:
            raise ValueError("direct_database_url is of no use without database_url")
        return self

    @field_validator("path_prefixes")
    @classmethod
    def _prefixes(cls, prefixes: list[str]) -> list[str]:
        for prefix in prefixes:
            if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", prefix):
                raise ValueError(f'"{prefix}" must be empty or like /kling or /proxy/kling')
        return list(dict.fromkeys(prefixes))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings)

    def served_models(self) -> list[tuple[Model, list[dict[str, object]]]]:
        """The models as the registry opens them."""
        return [
            (
                Model(
                    name, tuple(m.resolutions), m.series, dict(DEFAULT_UNITS) | {str(r): u for r, u in m.units.items()}
                ),
                m.routes,
            )
            for name, m in self.models.items()
        ]

    @property
    def hung_after_s(self) -> float:
        """How long a process may show no sign of life: its leases have run out then, and no hiccup lasts as long."""
        return max(10.0, self.lease_s)

    @property
    def reached_at(self) -> str:
        """Where callbacks tell clients to find pictures: there is no request to learn the host from."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"

    @property
    def effective_storage_url(self) -> str:
        return self.storage_url or (self.data_dir.resolve() / "files").as_uri()


def load_settings(config: Path | None = None, **given: Any) -> Settings:
    """The settings of this run; `given` are the command line's, None meaning not given. Raises BadSettings."""
    given = {name: value for name, value in given.items() if value is not None}
    data_dir = Path(
        given.get("data_dir") or os.environ.get(PREFIX + "DATA_DIR") or user_data_path("framehouse", appauthor=False)
    )
    values = _read_toml(config, data_dir)
    for name, field in Settings.model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        if variable in os.environ:
            values.pop(name, None)
        elif path := os.environ.get(f"{variable}_FILE"):
            values[name] = _read_secret(variable, path, is_json=isinstance(field.default, list | dict))
    try:
        return Settings(**(values | given))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {_said(e['msg'])}" for e in error.errors())
        raise BadSettings("Settings: " + "; ".join(problems)) from error
    except SettingsError as error:
        found = re.search(r'field "(\w+)"', str(error))
        name = PREFIX + found[1].upper() if found else "a variable"
        raise BadSettings(f"Settings: {name} is not the JSON that it must be: {error.__cause__ or error}") from error


def unknown_variables() -> list[str]:
    """FRAMEHOUSE_… variables that name no setting: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {name + "_FILE" for name in known} | {
        PREFIX + name for name in ("CONFIG", "SERVER", "KEY", "CALLBACK_SECRET")
    }
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _said(message: str) -> str:
    return "no such setting" if message.startswith("Extra inputs") else message.removeprefix("Value error, ")


def _read_toml(config: Path | None, data_dir: Path) -> dict[str, Any]:
    path = config or data_dir / CONFIG_NAME
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if config:
            raise BadSettings(f"There is no {config}.") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"Cannot read {path}: {error}") from error


def _read_secret(variable: str, path: str, *, is_json: bool) -> Any:
    try:
        text = Path(path).read_text().strip()
        return json.loads(text) if is_json else text
    except (OSError, ValueError) as error:
        raise BadSettings(f"Cannot read {variable}_FILE: {error}") from error
