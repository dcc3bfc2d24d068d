"""The schemas of the endpoint that sends a test callback."""

from pydantic import BaseModel, Field

from framehouse.domain.field_reader import MAX_URL_CHARACTERS


class TestCallbackRequest(BaseModel):
    """The receiver of a test message."""

    callback_url: str = Field(max_length=MAX_URL_CHARACTERS, description="An http or https URL")


class TestCallbackOut(BaseModel):
    """The result of the delivery of a test message."""

    id: str = Field(description="The webhook-id of the test message")
    delivered: bool = Field(description="Whether the receiver has accepted the message")
    status: int | None = Field(description="The HTTP status of the receiver's response")
    seconds: float = Field(description="The time from the request to the response")
    reason: str = Field(description="Why the message was not delivered; empty if it was delivered")
    advice: str = Field(description="What to do about the reason; empty if there is no advice")
