"""The schemas and the example of the endpoint that sends a test callback."""

from pydantic import BaseModel, Field

TEST_CALLBACK = {
    "url": {"summary": "A receiver", "value": {"callback_url": "https://receiver.example/hooks"}},
}


class TestCallbackRequest(BaseModel):
    callback_url: str = Field(description="An http or https URL")


class TestCallbackOut(BaseModel):
    id: str = Field(description="The webhook-id of the test message")
    delivered: bool
    status: int | None = Field(description="The HTTP status of the receiver's response")
    seconds: float
    reason: str = Field(description="Why the message was not delivered; empty if it was delivered")
    advice: str = Field(description="What to do about the reason; empty if there is no advice")
