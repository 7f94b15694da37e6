"""The labels under which calls are compared."""

from __future__ import annotations

NO_LINK = "none"
"""Value of `link` where nothing was impaired."""
_NO_LOAD = "none"


def conditions(*, load: str = "", link: str = "", relay_nodelay: bool | None = None) -> str:
    """What was different on a call's way, of the columns of these names, in words; empty: nothing, or not known."""
    parts = [f"load {load}"] if load not in ("", _NO_LOAD) else []
    parts += [f"link {link}"] if link not in ("", NO_LINK) else []
    parts += ["TCP_NODELAY"] if relay_nodelay else []
    return ", ".join(parts)


def condition(network: str, path: str, hops: int, different: str = "") -> str:
    """The label under which calls are compared: the study's words for its calls; for ours the path, its hops, and what
    was `different` on the way (`conditions`).
    """
    if network == "published":
        return f"Tor, {hops} hops" if hops else "Non-Tor"
    label = f"{path}, {hops} hop{'s' if hops != 1 else ''}" if hops else path
    return f"{label}, {different}" if different else label
