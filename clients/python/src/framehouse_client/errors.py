"""The errors of the client.

FramehouseError
├── AuthenticationError   The key is missing, unknown or expired, or may not use the model.
├── InvalidRequest        A field of the request is wrong. The message names the field and the allowed values.
├── NotFound              The task, the element, the model or the path does not exist.
├── ContentRefused        The server refuses the prompt or an image because of its content.
├── QuotaExceeded         The account is disabled, or its units are used up.
├── RateLimited           The account sends too many requests, or has too many images in flight.
├── ServerError           The server has an internal error, or its response is not a response of the Kling API.
├── ConnectionFailed      The server cannot be reached.
├── TaskMayExist          The response to a request was lost, so the task may have been created and billed.
├── TaskFailed            The task has ended without images.
├── TimedOut              The task did not end in the time that the caller gave.
└── InvalidSignature      A webhook was not sent by the server.
"""


class FramehouseError(Exception):
    """The base class of all errors of the client.

    `code` is the error code of the Kling API (docs/errors.md of Framehouse), or None. `status` is the HTTP status, or
    None if there was no response. `request_id` is the id under which the server logged the request, or an empty string.
    `message` is the message without code and request id.
    """

    def __init__(
        self, message: str, *, code: int | None = None, status: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        details = [f"code {self.code}"] if self.code is not None else []
        if self.status is not None and self.code is None:
            details.append(f"HTTP {self.status}")
        if self.request_id:
            details.append(f"request {self.request_id}")
        return f"{self.message} ({', '.join(details)})" if details else self.message


class AuthenticationError(FramehouseError):
    """The key is missing, unknown or expired, or may not use the model."""


class InvalidRequest(FramehouseError):
    """A field of the request is wrong. The message names the field and the allowed values."""


class NotFound(FramehouseError):
    """The task, the element, the model, the image or the path does not exist."""


class ContentRefused(FramehouseError):
    """The server refuses the prompt or an image because of its content."""


class QuotaExceeded(FramehouseError):
    """The account is disabled, or its units are used up. A later attempt fails, too."""


class RateLimited(FramehouseError):
    """The account sends too many requests, or has too many images in flight.

    The client has already repeated the request for `retry_s` seconds. `retry_after_s` is the pause in seconds that the
    server requested, or None.
    """

    retry_after_s: float | None = None


class ServerError(FramehouseError):
    """The server has an internal error, or its response is not a response of the Kling API."""


class ConnectionFailed(FramehouseError):
    """The server cannot be reached."""


class TaskMayExist(FramehouseError):
    """The response to a request was lost, so the task may have been created and billed.

    The client did not find the task, and did not send the request again, because the server might bill it twice.
    `client.get(error.external_task_id)` finds the task if the server created it. Framehouse recognizes repeated
    requests, so with Framehouse this error means only that the server could not be reached again.
    """

    def __init__(self, message: str, *, external_task_id: str = "") -> None:
        super().__init__(message)
        self.external_task_id = external_task_id


class TaskFailed(FramehouseError):
    """The task has ended without images. `task_id` is its id, and the message is the reason that the server states."""

    def __init__(self, message: str, *, task_id: str = "") -> None:
        super().__init__(message)
        self.task_id = task_id


class TimedOut(FramehouseError):
    """The task did not end in the time that the caller gave. The task is not cancelled.

    `client.get(error.task_id)` returns the task.
    """

    def __init__(self, message: str, *, task_id: str = "") -> None:
        super().__init__(message)
        self.task_id = task_id


class InvalidSignature(FramehouseError):
    """A webhook was not sent by the server, was changed, or is too old."""
