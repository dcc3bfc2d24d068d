"""Read the cost of a request from its response.

Sources: the documentation of xAI ("Cost Tracking") and of LiteLLM ("Response Headers"), the code of LiteLLM's image
endpoints, and OpenAI's published types.
"""

from collections.abc import Mapping

from framehouse.domain.cost import Cost, reported_cost
from framehouse.engines.token_prices import TokenPrices, Tokens, token_count

_TICKS_PER_USD = 10**10


def cost_of_request(headers: Mapping[str, str], usage: object, prices: TokenPrices | None) -> Cost | None:
    """Return the cost of a request with all its images, or None if it is not known.

    `usage` is the value of the field `usage`, or None if the response has no such field. A cost that the service
    reports has priority over a cost that is calculated from `prices`.
    """
    if cost := reported_cost(headers.get("x-litellm-response-cost"), "USD"):
        return cost
    fields = usage if isinstance(usage, Mapping) else {}
    if cost := reported_cost(fields.get("cost_in_usd_ticks"), "USD", divisor=_TICKS_PER_USD):
        return cost
    tokens = _tokens(fields) if prices else None
    return prices.cost(tokens) if prices and tokens else None


def _tokens(usage: Mapping[str, object]) -> Tokens | None:
    """Return the numbers of tokens, or None if they are not known.

    OpenAI usually does not specify the type of the output. The output is then the image.
    """
    sent, returned = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    sent = sent if isinstance(sent, Mapping) else {}
    returned = returned if isinstance(returned, Mapping) else {}
    try:
        output = token_count(usage.get("output_tokens"))
        text_output = token_count(returned.get("text_tokens", 0))
        return Tokens(
            text_input=token_count(sent.get("text_tokens")),
            image_input=token_count(sent.get("image_tokens")),
            text_output=text_output,
            image_output=token_count(output - text_output),
        )
    except ValueError:
        return None
