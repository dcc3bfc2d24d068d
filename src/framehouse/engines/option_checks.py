"""Options of routes, checked alike: each sentence names the option, what is allowed, and what it is."""


class BadOption(ValueError):
    """An option of a route is wrong; the message names it, what is allowed and what it is."""


def check_whole(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadOption(f"{name} must be a whole number from {least:,} to {most:,}; it is {value!r}")
    return value


def check_number(name: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadOption(f"{name} must be a number from {least:g} to {most:g}; it is {value!r}")
    return float(value)


def check_cite(cite: object) -> str:
    """How a model calls its pictures (`arrange`), with {} for the number."""
    if not isinstance(cite, str) or cite.count("{}") != 1 or len(cite) > 50 or cite.replace("{}", "").count("{"):
        raise BadOption(
            'cite must say how the model calls its pictures: cite must hold {} once, for the number, as in "image {}"'
        )
    return cite
