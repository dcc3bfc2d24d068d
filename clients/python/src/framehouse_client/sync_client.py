"""The client for programs without asyncio. `async_client` has the same methods for programs with asyncio."""

import time
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, Unpack

import httpx

from framehouse_client import account as account_steps
from framehouse_client import creating, downloading, watching
from framehouse_client import elements as element_steps
from framehouse_client.account import Account, Verification
from framehouse_client.connection import Connection, open_connection
from framehouse_client.effects import Call, NoResponse, Request, Response, Sleep, Steps, T
from framehouse_client.elements import Element
from framehouse_client.task_data import ImageData, TaskData
from framehouse_client.task_request import (
    ImageInput,
    Kind,
    TaskOptions,
    TaskRequest,
    combine_request,
    create_request,
    element_request,
    expand_request,
    try_on_request,
)
from framehouse_client.task_view import TaskView
from framehouse_client.transport import ERRORS, LIMITS, MAX_REDIRECTS, arguments, no_response, response_of

Content = bytes
P = ParamSpec("P")


class Client:
    """A client for a Framehouse server, for Kling or for a reseller. One client can be used by several threads.

        with Client() as client:
            client.create("A red fox in the snow").wait().save("out")

    `url` and `key` replace the environment variables FRAMEHOUSE_URL and FRAMEHOUSE_KEY. `access_key` and `secret_key`
    replace `key` for servers that require JWTs. A URL without a path, such as `http://127.0.0.1:8000`, gets the path
    `/kling`, except for Kling's own hosts.

    Temporary errors are retried for `retry_s` seconds. All methods raise FramehouseError or one of its subclasses.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        retry_s: float = 120.0,
    ) -> None:
        self._connection = open_connection(url, key, access_key, secret_key, retry_s)
        self._runner = _Runner(self._connection)
        self.elements = Elements(self._runner)

    def create(
        self,
        prompt: str,
        *,
        images: Iterable[ImageInput] = (),
        elements: Iterable[Element | int | str] = (),
        n: int | None = None,
        series: int | bool | Literal["auto"] | None = None,
        aspect_ratio: str | None = None,
        resolution: str | None = None,
        negative_prompt: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> "Task":
        """Create a task, and return it without waiting for its images.

        The prompt cites the first of the `images` as `<<<image_1>>>`, and the first of the `elements` as
        `<<<element_1>>>`. An image is a path, a URL or the content of a file. `n` is the number of images, from 1 to 9.
        `series` generates images that belong together: a number from 2 to 9, or True if the prompt determines the
        number. `aspect_ratio` is for example `"16:9"`, and `resolution` is `"1k"`, `"2k"` or `"4k"`. A request with a
        `negative_prompt` uses the endpoint `generations`, which generates no series. For `options`, see TaskOptions.

        The task is created at most once, even if a response is lost. See TaskMayExist.
        """
        return self.submit(
            create_request(
                prompt,
                images=images,
                elements=elements,
                n=n,
                series=series,
                aspect_ratio=aspect_ratio,
                resolution=resolution,
                negative_prompt=negative_prompt,
                options=options,
            )
        )

    def expand(
        self,
        image: ImageInput,
        *,
        left: float = 0,
        right: float = 0,
        up: float = 0,
        down: float = 0,
        prompt: str | None = None,
        n: int | None = None,
        **options: Unpack[TaskOptions],
    ) -> "Task":
        """Expand an image beyond its edges. The ratios are multiples of its width or height, from 0 to 2."""
        request = expand_request(image, left=left, right=right, up=up, down=down, prompt=prompt, n=n, options=options)
        return self.submit(request)

    def combine(
        self,
        subjects: Iterable[ImageInput],
        *,
        scene: ImageInput | None = None,
        style: ImageInput | None = None,
        prompt: str | None = None,
        n: int | None = None,
        aspect_ratio: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> "Task":
        """Combine one to four subjects in a new image, with the scene and the style of two other images."""
        request = combine_request(
            subjects, scene=scene, style=style, prompt=prompt, n=n, aspect_ratio=aspect_ratio, options=options
        )
        return self.submit(request)

    def try_on(self, human: ImageInput, cloth: ImageInput, **options: Unpack[TaskOptions]) -> "Task":
        """Show a person in clothes."""
        return self.submit(try_on_request(human, cloth, options=options))

    def submit(self, request: TaskRequest) -> "Task":
        """Create the task of a request that a function of `framehouse_client.task_request` built."""
        return self._task(self._runner.run(creating.create_task(self._connection, request)), request.kind)

    def get(self, id: str, *, kind: Kind | None = None) -> "Task":
        """Return a task by its id or external id. If `kind` is None, all endpoints are tried. Raises NotFound."""
        return self._task(self._runner.run(watching.get_task(self._connection, id, kind or "")))

    def tasks(self, limit: int | None = None, *, kind: Kind | None = None) -> Iterator["Task"]:
        """Iterate over the tasks of the account, newest first.

        If `kind` is None, Framehouse lists the tasks of all kinds, and other servers list the omni-image tasks.
        """
        seen: set[str] = set()
        size, page = min(limit or watching.PAGE_SIZE, watching.PAGE_SIZE), 1
        while limit is None or len(seen) < limit:
            tasks = self._runner.run(watching.list_page(self._connection, kind or "", page, size))
            for data in tasks:
                # a new task moves the tasks of a page to the next page
                if data.id not in seen and (limit is None or len(seen) < limit):
                    seen.add(data.id)
                    yield self._task(data)
            if len(tasks) < size:
                return
            page += 1

    def upload(self, image: ImageInput) -> str:
        """Upload an image, and return a URL that requests can contain. Only Framehouse has this endpoint.

        This makes requests with many large images smaller. An unused upload is deleted after 24 hours.
        """
        return self._runner.run(account_steps.upload_image(self._connection, image))

    def download(self, url: str) -> bytes:
        """Return the content of an image, for example from a URL in the data of a webhook. The key is not sent."""
        return self._runner.run(downloading.download(self._connection, url))

    def verify(self, image: ImageInput) -> Verification:
        """Return whether this server made an image, and whether the image was changed. Only for Framehouse."""
        return self._runner.run(account_steps.verify_image(self._connection, image))

    def account(self) -> Account:
        """Return the account of the key: its limits and what it has used. Only Framehouse has this endpoint."""
        return self._runner.run(account_steps.get_account(self._connection))

    def run(self, step: Callable[Concatenate[Connection, P], Steps[T]], *args: P.args, **options: P.kwargs) -> T:
        """Run a step with this client: a function of this package, or one that yields the same effects."""
        return self._runner.run(step(self._connection, *args, **options))

    def close(self) -> None:
        """Close the connections. Leaving the `with` block does the same."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._connection.base_url}>"

    def _task(self, data: TaskData, kind: str = "") -> "Task":
        return Task(self._runner, watching.with_kind(data, kind))


class Task(TaskView):
    """A task. It has the state that the client last received: `refresh` and `wait` update it."""

    def __init__(self, runner: "_Runner", data: TaskData) -> None:
        super().__init__(data)
        self._runner = runner

    @property
    def images(self) -> "list[Image]":
        """The images of a task that has succeeded. The list is empty until then."""
        return [Image(self._runner, image) for image in self._data.images]

    def refresh(self) -> Self:
        """Update the state once."""
        self._data = self._runner.run(watching.get_task(self._runner.connection, self.id, self.kind))
        return self

    def wait(self, timeout: float | None = None, on_progress: Callable[["Task"], object] | None = None) -> Self:
        """Wait until the task has ended, and return it. Restarts of the server do not end the wait.

        `on_progress` is called after each change of the status or the progress. Raises TaskFailed if the task fails,
        and TimedOut after `timeout` seconds. The task then continues.
        """
        watch = watching.start_watch(timeout, reports=on_progress is not None)
        while not self.ended:
            before = self._data
            self._data = self._runner.run(watching.watch_task(self._runner.connection, before, watch))
            if on_progress and (self.status, self.progress) != (before.status, before.progress):
                on_progress(self)
        self._check()
        return self

    def stream(self, timeout: float | None = None) -> "Iterator[Image]":
        """Yield each image as soon as it exists. Servers other than Framehouse deliver all images at the end.

        Raises the same errors as `wait`.
        """
        watch = watching.start_watch(timeout, reports=True)
        yielded: set[int] = set()
        while True:
            for image in watching.new_images(self._data, yielded):
                yield Image(self._runner, image)
            if self.ended:
                break
            self._data = self._runner.run(
                watching.watch_task(self._runner.connection, self._data, watch, pictures=True)
            )
        self._check()

    def cancel(self) -> Self:
        """Cancel the task. A task that has ended stays unchanged. Kling and most resellers cannot cancel tasks."""
        self._data = self._runner.run(watching.cancel_task(self._runner.connection, self._data))
        return self

    def save(self, folder: str | PathLike[str] = ".") -> list[Path]:
        """Wait until the task has ended, save all images and watermarked copies in a folder, and return the paths.

        The names contain the id of the task and the number of the image. A file is complete or does not exist.
        """
        self.wait()
        return self._runner.run(downloading.save_task(self._runner.connection, self._data, Path(folder)))


class Image:
    """An image of a task. `index` starts at 0. The URL needs no key, and expires when the server deletes the image."""

    def __init__(self, runner: "_Runner", data: ImageData) -> None:
        self._runner = runner
        self.index = data.index
        self.url = runner.connection.absolute(data.url)
        self.watermark_url = runner.connection.absolute(data.watermark_url) if data.watermark_url else None

    def bytes(self) -> Content:
        """Download the image."""
        return self._runner.run(downloading.download(self._runner.connection, self.url))

    def save(self, path: str | PathLike[str]) -> Path:
        """Download the image, and write it to a file. An existing file is replaced."""
        return self._runner.run(downloading.save_as(self._runner.connection, self.url, Path(path)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.index} {self.url[:100]}>"


class Elements:
    """The saved elements of the account."""

    def __init__(self, runner: "_Runner") -> None:
        self._runner = runner

    def create(
        self,
        name: str,
        description: str,
        images: Iterable[ImageInput],
        *,
        tags: Iterable[str] = (),
        external_task_id: str | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = 120.0,
    ) -> Element:
        """Create an element from its frontal image and up to three further images, and wait until it is saved."""
        request = element_request(
            name, description, images, tags=tags, external_task_id=external_task_id, idempotency_key=idempotency_key
        )
        return self._runner.run(element_steps.create_element(self._runner.connection, request, timeout_s=timeout))

    def get(self, id: int | str) -> Element:
        """Return an element by its element id, task id or external id. Raises NotFound."""
        return self._runner.run(element_steps.get_element(self._runner.connection, id))

    def list(self) -> Iterator[Element]:
        """Iterate over the elements of the account, newest first."""
        return self._pages(presets=False)

    def presets(self) -> Iterator[Element]:
        """Iterate over the elements that the server offers to all accounts."""
        return self._pages(presets=True)

    def delete(self, element: Element | int) -> None:
        """Delete an element. Tasks that already use it are not affected. Raises NotFound."""
        id = element.id if isinstance(element, Element) else element
        self._runner.run(element_steps.delete_element(self._runner.connection, id))

    def _pages(self, *, presets: bool) -> Iterator[Element]:
        page, size = 1, watching.PAGE_SIZE
        while True:
            entries, found = self._runner.run(
                element_steps.list_page(self._runner.connection, page, size, presets=presets)
            )
            yield from found
            if entries < size:
                return
            page += 1


class _Runner:
    """Performs the effects of steps."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._http = httpx.Client(max_redirects=MAX_REDIRECTS, limits=LIMITS)

    def run(self, steps: Steps[T]) -> T:
        result: Any = None
        while True:
            try:
                effect = steps.send(result)
            except StopIteration as stop:
                value: T = stop.value
                return value
            match effect:
                case Request():
                    result = self._send(effect)
                case Sleep(seconds):
                    time.sleep(seconds)
                    result = None
                case Call(function):
                    result = function()

    def _send(self, request: Request) -> Response | NoResponse:
        try:
            with self._http.stream(**arguments(request)) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > request.max_bytes:
                        return response_of(response, None)
                return response_of(response, bytes(body))
        except ERRORS as error:
            return no_response(error)

    def close(self) -> None:
        self._http.close()
