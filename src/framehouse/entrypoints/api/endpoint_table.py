"""The table of all endpoints: both dialects, uploads, images, upstream callbacks, health, admin API, browser pages."""

from framehouse.entrypoints.api import (
    callback_endpoints,
    console_endpoints,
    health_endpoints,
    static_endpoints,
    upload_endpoints,
    upstream_callback,
    verify_endpoints,
)
from framehouse.entrypoints.api.admin import admin_endpoint_table
from framehouse.entrypoints.api.documentation import BodySchema, Operation, ResponseDoc
from framehouse.entrypoints.api.image_endpoints import RESPONSES, SIGNATURE, get_image
from framehouse.entrypoints.api.kling import examples, kling_endpoint_table
from framehouse.entrypoints.api.kling.callback_schemas import TEST_CALLBACK, TestCallbackOut, TestCallbackRequest
from framehouse.entrypoints.api.kling.responses import SAVE_ERRORS, success_of
from framehouse.entrypoints.api.kling.schemas import Envelope, UploadOut, UploadRequest, VerificationOut, VerifyRequest
from framehouse.entrypoints.api.openai import openai_endpoint_table
from framehouse.entrypoints.api.router import Endpoint

_JSON = ResponseDoc("Successful Response", content={"application/json": {"schema": {}}})
_TEXT = ResponseDoc("Successful Response", content={"text/plain": {"schema": {"type": "string"}}})

_IMAGE_ENDPOINTS = (
    Endpoint(
        "GET",
        "/images/{path:path}",
        get_image,
        "get_image",
        Operation("images", "Get an image by its signed URL", RESPONSES, SIGNATURE),
        prefixed=False,
    ),
    Endpoint("HEAD", "/images/{path:path}", get_image, "image", prefixed=False),
    Endpoint("GET", "/references/{path:path}", get_image, "image", prefixed=False),
    Endpoint("HEAD", "/references/{path:path}", get_image, "image", prefixed=False),
)

_HEALTH_ENDPOINTS = (
    Endpoint(
        "GET",
        "/healthz",
        health_endpoints.healthz,
        "healthz",
        Operation("health", "Check that the process is running", {200: _JSON}, operation_id="healthz_healthz_get"),
        prefixed=False,
    ),
    Endpoint(
        "GET",
        "/readyz",
        health_endpoints.readyz,
        "readyz",
        Operation(
            "health",
            "Check the database and the storage, and report the health of the engines",
            {200: _JSON, 503: ResponseDoc("The database or the storage does not respond")},
            operation_id="readyz_readyz_get",
        ),
        prefixed=False,
    ),
    Endpoint(
        "GET",
        "/metrics",
        health_endpoints.metrics,
        "metrics",
        Operation("health", "Get the metrics for Prometheus", {200: _TEXT}, operation_id="metrics_metrics_get"),
        prefixed=False,
    ),
)

_BROWSER_ENDPOINTS = (
    *(
        Endpoint(method, path, console_endpoints.page, "page", prefixed=False)
        for path in console_endpoints.PAGE_PATHS
        for method in ("GET", "HEAD")
    ),
    Endpoint("GET", "/console/config.json", console_endpoints.configuration, "configuration", prefixed=False),
    Endpoint("POST", "/console/sign-in", console_endpoints.sign_in, "sign_in", prefixed=False),
    Endpoint("GET", "/docs", static_endpoints.docs, "docs", prefixed=False),
    *(
        Endpoint(method, path, endpoint, "other", prefixed=False)
        for path, endpoint in (
            ("/docs/{path:path}", static_endpoints.docs_file),
            ("/openapi.json", static_endpoints.openapi),
            ("/presets/{path:path}", static_endpoints.preset_file),
        )
        for method in ("GET", "HEAD")
    ),
)

_UPLOAD_ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/uploads",
        upload_endpoints.create_upload,
        "create_upload",
        Operation(
            "images",
            "Get a URL for uploading an image, and the URL for using the image as a reference",
            success_of(Envelope[UploadOut], SAVE_ERRORS),
            body=BodySchema(UploadRequest, examples.CREATE_UPLOAD),
        ),
    ),
    # ComfyUI uses this path without a prefix, although it uses a prefix for all other requests
    Endpoint("POST", "/customers/storage", upload_endpoints.create_comfyui_upload, "create_upload", at_root=True),
    Endpoint("PUT", "/uploads/{path:path}", upload_endpoints.put_upload, "put_upload", prefixed=False),
    Endpoint("GET", "/uploads/{path:path}", upload_endpoints.get_upload, "get_upload", prefixed=False),
    Endpoint("HEAD", "/uploads/{path:path}", upload_endpoints.get_upload, "get_upload", prefixed=False),
)

_VERIFY_ENDPOINT = Endpoint(
    "POST",
    "/v1/verify",
    verify_endpoints.verify_image,
    "verify_image",
    Operation(
        "images",
        "Find out whether an image was made here; free of charge",
        success_of(Envelope[VerificationOut], SAVE_ERRORS),
        body=BodySchema(VerifyRequest, examples.VERIFY_IMAGE, file_field=verify_endpoints.FIELD),
    ),
)

_TEST_CALLBACK_ENDPOINT = Endpoint(
    "POST",
    "/v1/callbacks/test",
    callback_endpoints.send_test_callback,
    "send_test_callback",
    Operation(
        "tasks",
        "Send a signed test message to a callback URL, and return the result of the delivery",
        success_of(Envelope[TestCallbackOut], SAVE_ERRORS),
        body=BodySchema(TestCallbackRequest, TEST_CALLBACK),
    ),
)

ENDPOINTS = (
    *kling_endpoint_table.ENDPOINTS,
    *openai_endpoint_table.ENDPOINTS,
    _VERIFY_ENDPOINT,
    _TEST_CALLBACK_ENDPOINT,
    *_UPLOAD_ENDPOINTS,
    *_IMAGE_ENDPOINTS,
    Endpoint("POST", "/hasten/{batch}/{signature}", upstream_callback.wake_batch, "hasten", prefixed=False),
    *_HEALTH_ENDPOINTS,
    *admin_endpoint_table.ENDPOINTS,
    *_BROWSER_ENDPOINTS,
)
