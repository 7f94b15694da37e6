"""The condition labels by which calls are grouped."""

from __future__ import annotations

NO_LINK = "none"
"""Value of `link` if nothing was impaired."""
_NO_LOAD = "none"


def conditions(*, load: str = "", link: str = "", relay_nodelay: bool | None = None) -> str:
    """Describe what was special about a call's way, from the columns of these names; empty: nothing, or unknown."""
    parts = [f"load {load}"] if load not in ("", _NO_LOAD) else []
    parts += [f"link {link}"] if link not in ("", NO_LINK) else []
    parts += ["TCP_NODELAY"] if relay_nodelay else []
    return ", ".join(parts)


def condition(network: str, path: str, hops: int, different: str = "") -> str:
    """The condition label of a call: the study's wording for published calls; otherwise the path, its hops, and what
    was `different` on the way (`conditions`).
    """
    if network == "published":
        return f"Tor, {hops} hops" if hops else "Non-Tor"
    label = f"{path}, {hops} hop{'s' if hops != 1 else ''}" if hops else path
    return f"{label}, {different}" if different else label
