"""A client for Framehouse, for Kling's image API and for its resellers.

    from framehouse_client import Client

    with Client() as client:  # reads FRAMEHOUSE_URL and FRAMEHOUSE_KEY
        client.create("A red fox in the snow", n=2).wait().save("out")

`AsyncClient` has the same methods for asyncio. Reading order of the modules:

    sync_client.py, async_client.py     the two clients: public methods, and runners that perform effects
    task_request.py                     builds requests
    creating.py, watching.py,           the steps of the operations: generators that contain the rules and yield effects
    downloading.py, elements.py,
    account.py
    exchange.py, effects.py             repeated requests; the effects
    answers.py, task_data.py            read responses
    connection.py                       the address of the server and the credentials
    webhooks.py                         verifies callbacks
    errors.py                           the errors
"""

__version__ = "0.1.0"

from framehouse_client.account import Account, Verification
from framehouse_client.async_client import AsyncClient, AsyncImage, AsyncTask
from framehouse_client.elements import Element
from framehouse_client.errors import (
    AuthenticationError,
    ConnectionFailed,
    ContentRefused,
    FramehouseError,
    InvalidRequest,
    InvalidSignature,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServerError,
    TaskFailed,
    TaskMayExist,
    TimedOut,
)
from framehouse_client.sync_client import Client, Image, Task
from framehouse_client.task_data import TaskData
from framehouse_client.webhooks import verify_webhook

__all__ = [
    "Account",
    "AsyncClient",
    "AsyncImage",
    "AsyncTask",
    "AuthenticationError",
    "Client",
    "ConnectionFailed",
    "ContentRefused",
    "Element",
    "FramehouseError",
    "Image",
    "InvalidRequest",
    "InvalidSignature",
    "NotFound",
    "QuotaExceeded",
    "RateLimited",
    "ServerError",
    "Task",
    "TaskData",
    "TaskFailed",
    "TaskMayExist",
    "TimedOut",
    "Verification",
    "verify_webhook",
]
