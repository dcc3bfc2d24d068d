"""All settings and their descriptions. Each process reads the settings once, when it starts.

docs/settings.md contains the same descriptions, and a test compares the page with this module. The sources of a
setting, in order of increasing priority, are its default, framehouse.toml, FRAMEHOUSE_<NAME>_FILE, FRAMEHOUSE_<NAME>
and the command line.
"""

import json
import os
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from framehouse.domain.aigc_label import code_problem
from framehouse.domain.field_reader import url_problem
from framehouse.domain.model import Catalog, Model
from framehouse.domain.pricing import DEFAULT_UNITS
from framehouse.domain.task_kind import TASK_KINDS, TaskKind

PREFIX = "FRAMEHOUSE_"
CONFIG_NAME = "framehouse.toml"


class BadSettings(Exception):
    """Raised when a setting is invalid or a file cannot be read. The message names the setting or the file."""


class ModelSettings(BaseModel):
    """The settings of one model: its engines, resolutions and prices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    routes: list[dict[str, Any]] = Field(
        default=[{"engine": "previz"}],
        description="Engines in order of preference. "
        "Each entry contains `engine`, the options of this engine, and optionally `name`, `needs`, "
        "`requests_per_minute`, `first_frame`, `price`, `currency` and `daily_budget`. "
        "If an engine is unavailable, the next engine is tried.",
    )
    units: dict[Literal["1k", "2k", "4k"], Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        default=dict(DEFAULT_UNITS),  # type: ignore[arg-type]
        description="Price of an image in units, by resolution. A resolution without an entry has the default price.",
    )
    resolutions: list[Literal["1k", "2k", "4k"]] = Field(
        default=["1k", "2k", "4k"], min_length=1, description="Resolutions that the model offers."
    )
    series: bool = Field(default=True, description="Whether the model offers series.")
    aliases: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        default=None,
        description="Other names that requests can use for the model. Aliases are not case-sensitive. "
        "If not set, `kling-v3-omni` and `kling-image-o1` have the aliases that clients of Kling use.",
    )
    endpoints: list[TaskKind] | None = Field(
        default=None,
        min_length=1,
        description="Endpoints that offer the model: `omni-image`, `generations`, `multi-image2image`, `expand` and "
        "`try-on`. "
        "If not set, the default models have the same endpoints as in the Kling API, "
        "and other models have all endpoints.",
    )


_MODELS = {
    "kling-v3-omni": ModelSettings(),
    "kling-image-o1": ModelSettings(resolutions=["1k", "2k"], series=False),
    **{
        name: ModelSettings(resolutions=["1k", "2k"], series=False)
        for name in ("kling-v3", "kling-v2-1", "kling-v2-new", "kling-v2", "kling-v1-5", "kling-v1")
    },
    **{
        name: ModelSettings(resolutions=["1k"], series=False)
        for name in ("kling-expand", "kolors-virtual-try-on-v1-5", "kolors-virtual-try-on-v1")
    },
}
_ENDPOINTS: dict[str, tuple[TaskKind, ...]] = {
    "kling-v3-omni": ("omni-image", "generations"),
    "kling-image-o1": ("omni-image", "generations"),
    "kling-v3": ("generations",),
    "kling-v2-1": ("generations", "multi-image2image"),
    "kling-v2-new": ("generations",),
    "kling-v2": ("generations", "multi-image2image"),
    "kling-v1-5": ("generations",),
    "kling-v1": ("generations",),
    "kling-expand": ("expand",),
    "kolors-virtual-try-on-v1-5": ("try-on",),
    "kolors-virtual-try-on-v1": ("try-on",),
}


_ALIASES = {
    "kling-v3-omni": ("kling-omni-image", "image-kling-v3-omni", "kling-v3-image-omni"),
    "kling-image-o1": ("image-kling-image-o1", "kling-o1"),
}
"""The names that resellers of Kling and their clients use for the models."""


class Settings(BaseSettings):
    """The settings of a process. The field names are the keys of framehouse.toml.

    The environment variable of a field is FRAMEHOUSE_ followed by the field name in capital letters.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("framehouse", appauthor=False),
        description="Folder for all local data: the embedded database, the images and framehouse.toml.",
    )
    host: str = Field(default="127.0.0.1", description="Address on which the API listens.")
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port on which the API listens. If 0, the operating system chooses a free port.",
    )
    public_url: str = Field(
        default="",
        description="Base URL at which clients reach this server. "
        "Image URLs start with this URL. "
        "If empty, image URLs in responses use the host of the client's request, "
        "and image URLs in callbacks use the values of `host` and `port`.",
    )
    path_prefixes: list[str] = Field(
        min_length=1,
        default=["/kling", "", "/proxy/kling"],
        description="Prefixes of the API's paths. Each path is available under every prefix.",
    )
    database_url: str = Field(
        default="",
        description="URL of a PostgreSQL database, version 14 or newer. "
        "If empty, the embedded database in the data folder is used.",
    )
    direct_database_url: str = Field(
        default="",
        description="URL for connecting to the same database directly, without the connection pooler. "
        "Required only if `database_url` is the URL of a pooler.",
    )
    storage_url: str = Field(
        default="",
        description="URL of the storage for images: file:///folder, s3://bucket/prefix, gs://… or az://…. "
        "If empty, the folder `files` in the data folder is used.",
    )
    image_delivery: Literal["serve", "redirect"] = Field(
        default="serve",
        description="How clients download images. "
        "With `serve`, the server sends the image. "
        "With `redirect`, the server redirects the client to a presigned URL of the bucket.",
    )
    models: dict[Annotated[str, Field(min_length=1, max_length=200)], ModelSettings] = Field(
        default=_MODELS,
        min_length=1,
        description="Models that the server offers, by name. These models replace the default models.",
    )
    default_model: str = Field(
        default="",
        description="Name or alias of the model for omni-image requests without `model_name`. "
        "If empty, such requests are refused. "
        "A request without `model_name` to any other endpoint uses the endpoint's own default model. "
        "If the endpoint has no such model, or if the model is not available at the endpoint, "
        "the request uses `default_model`.",
    )
    sandbox: bool = Field(
        default=True,
        description="Whether the engine previz simulates failures when a prompt contains sandbox triggers. "
        "If the model of a task also has a route with another engine, previz ignores the triggers.",
    )
    image_format: Literal["png", "jpeg", "webp"] = Field(
        default="png", description="File format of images: `png`, `jpeg` or `webp`."
    )
    image_quality: int = Field(default=92, ge=1, le=100, description="Quality of jpeg and webp images, from 1 to 100.")
    upscaling: Literal["auto", "lanczos"] = Field(
        default="auto",
        description="How images are enlarged if an engine cannot generate the requested size. "
        "With `auto`, a neural network enlarges them if the extra `upscale` is installed. "
        "With `lanczos`, or without the extra, they are enlarged with Lanczos resampling.",
    )
    watermark_text: str = Field(
        default="",
        max_length=60,
        description="Text of the watermark. "
        "If empty, the text is `AI生成` for tasks whose prompt contains Chinese characters, "
        "and `AI generated` for other tasks. "
        "Capital letters and Chinese characters have a height of at least 5 % of the shorter side of the image.",
    )
    watermark_logo: Path | None = Field(
        default=None,
        description="Path of an image file with transparency. The image replaces the text of the watermark. "
        "GB 45438-2025 requires a text, such as `AI生成`, so a logo without such a text is not sufficient.",
    )
    explicit_label: Literal["watermark", "always"] = Field(
        default="watermark",
        description="Which files have the watermark. "
        "With `watermark`, only the watermarked copies that clients request have it. "
        "With `always`, all images and their previews have it, "
        "and the `watermark_url` of an image equals its `url`. "
        "An image of a series that is generated from the first image may then repeat parts of its watermark.",
    )
    label_producer: str = Field(
        default="",
        max_length=100,
        description="Code of the operator for the implicit label of GB 45438-2025: `0011`, "
        "the 18 characters of the unified social credit code, and five characters of your choice. "
        "The metadata of each image then contains the label once, with this code as producer and propagator. "
        "If empty, images have no implicit label. "
        "In both cases, labels of upstreams and references are not copied to the image.",
    )
    sign_images: bool = Field(
        default=True,
        description="Whether images are signed: the metadata of a signed image (a C2PA manifest) states how the image "
        "was made, and shows later changes.",
    )
    signing_certificate: Path | None = Field(
        default=None,
        description="Path of a PEM file with the certificate that signs images, followed by the certificates of its "
        "issuers. "
        "Requires `signing_key`. "
        "If not set, the server creates a certificate that only this server trusts.",
    )
    signing_key: Path | None = Field(
        default=None,
        description="Path of a PEM file with the private key of `signing_certificate`, without a password.",
    )
    time_stamp_url: str = Field(
        default="",
        description="URL of a time-stamp authority (RFC 3161). "
        "A time stamp proves that an image was signed before the certificate expired. "
        "If empty, signatures have no time stamp.",
    )
    unsigned_images: Literal["deliver", "fail"] = Field(
        default="deliver",
        description="What happens if an image cannot be signed. "
        "With `deliver`, the task succeeds, and the metadata of the image states that it is not signed. "
        "With `fail`, the task fails.",
    )
    prompt_in_images: bool = Field(
        default=False,
        description="Whether the metadata of an image contains the text of its prompt. "
        "If `false`, the metadata contains only the SHA-256 of the prompt.",
    )
    retention_days: float = Field(
        default=30, gt=0, le=36500, description="Number of days for which images are stored after their task has ended."
    )
    history_days: float = Field(
        default=365,
        gt=0,
        le=36500,
        description="Number of days for which tasks can be queried after their images have been deleted. "
        "After this time, the tasks are deleted, but each `external_task_id` stays reserved.",
    )
    worker_concurrency: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Maximum number of batches that one worker processes at the same time. "
        "If 0, the maximum is the sum of the concurrency limits of the worker's engines, but at least 2.",
    )
    worker_labels: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = Field(
        default={},
        description="Labels of the workers on this machine, and their values. "
        "Only workers that have all labels in the `needs` of a route serve this route. "
        "The option `framehouse worker --label` overrides this setting.",
    )
    lease_s: float = Field(
        default=30,
        ge=2,
        le=3600,
        description="Duration of a lease in seconds. "
        "A worker that does not renew the lease of a batch in time loses its claim on the batch. "
        "If a process hangs for `lease_s` seconds or for 10 seconds, whichever is longer, it is killed and restarted.",
    )
    stop_s: float = Field(
        default=30,
        ge=0,
        le=3600,
        description="Maximum time in seconds for a stopping process to finish its requests and batches. "
        "Unfinished batches then return to the queue.",
    )
    attempts: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Maximum number of attempts for a batch or an element. "
        "After the last attempt, the task or the element fails. "
        "An attempt counts only if the worker died, an internal error occurred, or a reference could not be fetched.",
    )
    give_up_after_s: float = Field(
        default=3600,
        gt=0,
        description="Time in seconds for which workers retry a task if no engine can generate its images. "
        "After this time, the task fails.",
    )
    max_body_bytes: int = Field(default=150_000_000, ge=1000, description="Maximum size of a request body, in bytes.")
    requests_per_second: float = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Maximum number of requests per second that each account may send to one API process. "
        "If 0, the number is not limited.",
    )
    reference_types: list[Literal["jpg", "png", "webp", "avif", "heic"]] = Field(
        default=["jpg", "png", "webp", "avif", "heic"],
        min_length=1,
        description="File types of references that are accepted. "
        "Servers without the package `pi-heif` (`pip install framehouse[heic]`) refuse `heic`.",
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Whether references may be fetched from private addresses, and whether callbacks may be sent to "
        "private addresses. "
        "Set the value to `true` only for development.",
    )
    ca_certificates: Path | None = Field(
        default=None,
        description="Path of a PEM file with additional certificate authorities. "
        "Connections to references, callback receivers and upstreams trust these authorities, too.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Minimum level of the messages in the log: `debug`, `info`, `warning` or `error`.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Format of the log: `text`, or `json` with one JSON object per line."
    )
    worker_metrics_host: str = Field(
        default="127.0.0.1", description="Address on which a worker exposes its own metrics, without authentication."
    )
    worker_metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port on which a worker exposes its own metrics. "
        "If 0, the worker opens no port. "
        "With `framehouse serve`, the API process includes the worker's metrics in `/metrics`.",
    )
    otlp_endpoint: str = Field(
        default="",
        description="Base URL of a collector that receives traces over OTLP/HTTP. "
        "If empty, the value of OTEL_EXPORTER_OTLP_ENDPOINT is used. "
        "If that variable is not set either, no traces are sent.",
    )
    trace_ratio: float = Field(default=1.0, ge=0, le=1, description="Fraction of tasks to trace, from 0 to 1.")

    @field_validator("public_url", "otlp_endpoint", "time_stamp_url")
    @classmethod
    def _url(cls, url: str) -> str:
        if url and (problem := url_problem(url)):
            raise ValueError(problem)
        return url

    @field_validator("watermark_text")
    @classmethod
    def _one_line(cls, text: str) -> str:
        return " ".join(text.split())

    @field_validator("label_producer")
    @classmethod
    def _code(cls, code: str) -> str:
        if problem := code_problem(code):
            raise ValueError(problem)
        return code

    @model_validator(mode="after")
    def _direct(self) -> "Settings":
        if self.direct_database_url and not self.database_url:
            raise ValueError("direct_database_url requires database_url")
        return self

    @model_validator(mode="after")
    def _signing(self) -> "Settings":
        if (self.signing_certificate is None) != (self.signing_key is None):
            raise ValueError("signing_certificate and signing_key require each other")
        return self

    @model_validator(mode="after")
    def _model_names(self) -> "Settings":
        Catalog((model for model, _ in self.served_models()), self.default_model)
        return self

    @field_validator("path_prefixes")
    @classmethod
    def _prefixes(cls, prefixes: list[str]) -> list[str]:
        for prefix in prefixes:
            if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", prefix):
                raise ValueError(f'"{prefix}" must be empty or a path such as /kling or /proxy/kling')
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
        """Return the models and their routes in the form that `open_registry` expects."""
        return [
            (
                Model(
                    name,
                    tuple(m.resolutions),
                    m.series,
                    dict(DEFAULT_UNITS) | {str(r): u for r, u in m.units.items()},
                    kinds=tuple(m.endpoints or _ENDPOINTS.get(name, TASK_KINDS)),
                    aliases=self._default_aliases(name) if m.aliases is None else tuple(m.aliases),
                ),
                m.routes,
            )
            for name, m in self.models.items()
        ]

    @staticmethod
    def default_names(kinds: Collection[TaskKind]) -> list[str]:
        """Return the names and aliases of all default models that offer at least one of these endpoints."""
        names = [name for name in _MODELS if set(_ENDPOINTS[name]) & set(kinds)]
        return [*names, *(alias for name in names for alias in _ALIASES.get(name, ()))]

    def _default_aliases(self, name: str) -> tuple[str, ...]:
        """Return the default aliases of a model, except names that belong to another configured model."""
        taken = {taken.casefold() for other, model in self.models.items() for taken in (other, *(model.aliases or ()))}
        return tuple(alias for alias in _ALIASES.get(name, ()) if alias not in taken)

    @property
    def hung_after_s(self) -> float:
        """A process is treated as hung if it sends no heartbeat for this many seconds.

        The value is at least `lease_s`, so the leases of the process have expired before it is restarted. The value is
        also at least 10 seconds, so that a short pause of the machine does not cause a restart.
        """
        return max(10.0, self.lease_s)

    @property
    def image_base_url(self) -> str:
        """The base URL of the images in callbacks.

        The URLs in a response can use the host from the request's `Host` header. A callback is not a response to a
        request, so its URLs need this base URL.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"

    @property
    def effective_storage_url(self) -> str:
        return self.storage_url or (self.data_dir.resolve() / "files").as_uri()


def load_settings(config: Path | None = None, **options: Any) -> Settings:
    """Read the settings from all sources.

    `options` contains the command-line options; None means that the option was not given. Raises BadSettings if a
    setting is invalid or a file cannot be read.
    """
    options = {name: value for name, value in options.items() if value is not None}
    data_dir = Path(
        options.get("data_dir") or os.environ.get(PREFIX + "DATA_DIR") or user_data_path("framehouse", appauthor=False)
    )
    values = _read_toml(config, data_dir)
    for name, field in Settings.model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        if variable in os.environ:
            values.pop(name, None)
        elif path := os.environ.get(f"{variable}_FILE"):
            values[name] = _read_secret(variable, path, is_json=isinstance(field.default, list | dict))
    try:
        return Settings(**(values | options))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {_problem(e['msg'])}" for e in error.errors())
        raise BadSettings("Settings: " + "; ".join(problems)) from error
    except SettingsError as error:
        field_name = re.search(r'field "(\w+)"', str(error))
        name = PREFIX + field_name[1].upper() if field_name else "a variable"
        raise BadSettings(f"Settings: {name} must be valid JSON: {error.__cause__ or error}") from error


def unknown_variables() -> list[str]:
    """Return the FRAMEHOUSE_… variables that do not belong to a setting. These names are probably misspelled."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {name + "_FILE" for name in known} | {
        PREFIX + name for name in ("CONFIG", "SERVER", "URL", "KEY", "CALLBACK_SECRET")
    }
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _problem(message: str) -> str:
    return "no such setting" if message.startswith("Extra inputs") else message.removeprefix("Value error, ")


def _read_toml(config: Path | None, data_dir: Path) -> dict[str, Any]:
    path = config or data_dir / CONFIG_NAME
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if config:
            raise BadSettings(f"The file {config} does not exist.") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"Cannot read {path}: {error}") from error


def _read_secret(variable: str, path: str, *, is_json: bool) -> Any:
    try:
        text = Path(path).read_text().strip()
        return json.loads(text) if is_json else text
    except (OSError, ValueError) as error:
        raise BadSettings(f"Cannot read {variable}_FILE: {error}") from error
