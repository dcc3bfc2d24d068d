"""The properties that the tasks of both clients share."""

from datetime import datetime
from decimal import Decimal

from framehouse_client.errors import TaskFailed
from framehouse_client.task_data import Status, TaskData


class TaskView:
    """The state of a task when the client last received it. `refresh` and `wait` update the state."""

    def __init__(self, data: TaskData) -> None:
        self._data = data

    @property
    def id(self) -> str:
        return self._data.id

    @property
    def kind(self) -> str:
        """`omni-image`, `generations`, `multi-image2image`, `expand` or `try-on`: the endpoint of the task."""
        return self._data.kind

    @property
    def external_task_id(self) -> str:
        """The id that the caller chose, or else an id that the client generated."""
        return self._data.external_task_id

    @property
    def status(self) -> Status:
        """`submitted`, `processing`, `succeed` or `failed`."""
        return self._data.status

    @property
    def ended(self) -> bool:
        """Whether the task has succeeded or failed."""
        return self._data.ended

    @property
    def progress(self) -> float:
        """A number from 0 to 1. Only Framehouse reports values between 0 and 1."""
        return self._data.progress

    @property
    def units(self) -> Decimal:
        """The number of units that were charged. It is 0 until the task has succeeded."""
        return self._data.units

    @property
    def error(self) -> str | None:
        """The reason if the task has failed, otherwise None."""
        if self._data.status != "failed":
            return None
        return self._data.message or "the server states no reason"

    @property
    def created_at(self) -> datetime | None:
        return self._data.created_at

    @property
    def data(self) -> TaskData:
        """The state as a plain object, with the response of the server in `raw`."""
        return self._data

    def _check(self) -> None:
        if self.error is not None:
            raise TaskFailed(f"the task {self.id} failed: {self.error}", task_id=self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status}>"
