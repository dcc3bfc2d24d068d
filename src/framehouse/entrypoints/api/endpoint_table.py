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
from framehouse.entrypoints.api.health_schemas import LivenessOut, ReadinessOut
from framehouse.entrypoints.api.image_endpoints import PATH, REFERENCE_RESPONSES, RESPONSES, SIGNATURE, get_image
from framehouse.entrypoints.api.kling import examples, kling_endpoint_table
from framehouse.entrypoints.api.kling.callback_schemas import TestCallbackOut, TestCallbackRequest
from framehouse.entrypoints.api.kling.image_schemas import (
    ComfyUploadOut,
    StoredUploadOut,
    UploadOut,
    UploadRequest,
    VerificationOut,
    VerifyRequest,
)
from framehouse.entrypoints.api.kling.parameters import REQUEST_ID
from framehouse.entrypoints.api.kling.response_schemas import Envelope
from framehouse.entrypoints.api.kling.responses import ERRORS, SAVE_ERRORS, error_doc, example_of, success_of
from framehouse.entrypoints.api.mcp_endpoint import serve_mcp
from framehouse.entrypoints.api.openai import openai_endpoint_table
from framehouse.entrypoints.api.router import Endpoint

_TEXT = ResponseDoc("The metrics in Prometheus's text format", content={"text/plain": {"schema": {"type": "string"}}})
_READY = {"status": "ok", "checks": {"database": "ok", "storage": "ok"}, "engines": {"kling-v3-omni": {"kling": "ok"}}}
_NOT_READY = {"status": "not ready", "checks": {"database": "away", "storage": "ok"}, "engines": {}}

_IMAGE_ENDPOINTS = (
    Endpoint(
        "GET",
        "/images/{path:path}",
        get_image,
        "get_image",
        Operation("images", "Get an image by its signed URL", RESPONSES, (PATH, *SIGNATURE)),
        prefixed=False,
    ),
    Endpoint("HEAD", "/images/{path:path}", get_image, "image", prefixed=False),
    Endpoint(
        "GET",
        "/references/{path:path}",
        get_image,
        "image",
        Operation(
            "images",
            "Get an image of an element by its signed URL",
            REFERENCE_RESPONSES,
            (PATH, *SIGNATURE),
            operation_id="get_reference",
        ),
        prefixed=False,
    ),
    Endpoint("HEAD", "/references/{path:path}", get_image, "image", prefixed=False),
)

_HEALTH_ENDPOINTS = (
    Endpoint(
        "GET",
        "/healthz",
        health_endpoints.healthz,
        "healthz",
        Operation(
            "health",
            "Check that the process is running",
            {200: ResponseDoc("The process is running", LivenessOut, examples=example_of({"status": "ok"}))},
            operation_id="check_liveness",
        ),
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
            {
                200: ResponseDoc("The server can accept tasks", ReadinessOut, examples=example_of(_READY)),
                503: ResponseDoc(
                    "The database or the storage does not respond", ReadinessOut, examples=example_of(_NOT_READY)
                ),
            },
            operation_id="check_readiness",
        ),
        prefixed=False,
    ),
    Endpoint(
        "GET",
        "/metrics",
        health_endpoints.metrics,
        "metrics",
        Operation("health", "Get the metrics for Prometheus", {200: _TEXT}, operation_id="get_metrics"),
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

_UPLOAD_GONE = error_doc(
    "UploadGone",
    "1203 the upload does not exist, the URL has expired, or its signature is wrong",
    upload=(1203, "the upload does not exist, or its URL has expired"),
)
_BYTES = {"schema": {"type": "string", "format": "binary"}}

_UPLOAD_ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/uploads",
        upload_endpoints.create_upload,
        "create_upload",
        Operation(
            "uploads",
            "Get a URL for uploading an image, and the URL for using the image as a reference",
            success_of(Envelope[UploadOut], SAVE_ERRORS, examples.UPLOAD),
            body=BodySchema(UploadRequest, examples.CREATE_UPLOAD),
        ),
    ),
    # ComfyUI uses this path without a prefix, although it uses a prefix for all other requests
    Endpoint(
        "POST",
        "/customers/storage",
        upload_endpoints.create_comfyui_upload,
        "create_upload",
        Operation(
            "uploads",
            "Get the URLs of an upload in the form that the API nodes of ComfyUI expect",
            {
                200: ResponseDoc(
                    "The URLs, without an envelope", ComfyUploadOut, examples=example_of(examples.COMFYUI_UPLOAD)
                )
            }
            | SAVE_ERRORS,
            body=BodySchema(UploadRequest, examples.CREATE_UPLOAD),
            operation_id="create_comfyui_upload",
            description="This path is also served without a prefix.",
        ),
        at_root=True,
    ),
    Endpoint(
        "PUT",
        "/uploads/{path:path}",
        upload_endpoints.put_upload,
        "put_upload",
        Operation(
            "uploads",
            "Upload a file to the `upload_url` of an upload",
            success_of(Envelope[StoredUploadOut], {400: ERRORS[400], 404: _UPLOAD_GONE}, {})
            | {status: ERRORS[status] for status in (413, 429, 500, 503)},
            (PATH, *SIGNATURE),
            BodySchema(None, {}, content={"application/octet-stream": _BYTES}),
            description="A JPEG, PNG, WebP or AVIF image of at most 10 MB. The server ignores the content type.",
        ),
        prefixed=False,
    ),
    Endpoint(
        "GET",
        "/uploads/{path:path}",
        upload_endpoints.get_upload,
        "get_upload",
        Operation(
            "uploads",
            "Get the uploaded file at the `download_url` of an upload",
            {
                307: ResponseDoc("A redirect to the file", headers={"Location": "The signed URL of the file"}),
                404: _UPLOAD_GONE,
                500: ERRORS[500],
                503: ERRORS[503],
            },
            (PATH, *SIGNATURE),
        ),
        prefixed=False,
    ),
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
        success_of(Envelope[VerificationOut], SAVE_ERRORS, examples.VERIFICATION),
        # without an optional parameter, openapi-python-client generates a function with an undefined name
        parameters=(REQUEST_ID,),
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
        success_of(Envelope[TestCallbackOut], SAVE_ERRORS, examples.TESTED_CALLBACK),
        parameters=(REQUEST_ID,),
        body=BodySchema(TestCallbackRequest, examples.TEST_CALLBACK),
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
    Endpoint("POST", "/mcp", serve_mcp, "mcp", prefixed=False),
    *_HEALTH_ENDPOINTS,
    *admin_endpoint_table.ENDPOINTS,
    *_BROWSER_ENDPOINTS,
)
