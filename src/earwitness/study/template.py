"""`earwitness study init`: writes an example study file with a reason beside every default."""

from __future__ import annotations

from importlib.resources import files

from earwitness.errors import InputError

KINDS = ("small", "published")


def study_template(kind: str = "small", name: str = "") -> str:
    """The text of a valid study file.

    `small`: three paths, two codecs, two pairs of cities: minutes. `published`: the published study's 15 pairs of
    places and 4 codecs over Tor with 3 hops, with 2, and without. Raises InputError for another kind.
    """
    if kind not in KINDS:
        raise InputError("writing a study like", kind, "there is no such example", f"choose one of {', '.join(KINDS)}")
    data = files("earwitness.study") / "templates"
    parts = [(data / f"{kind}.toml").read_text(encoding="utf-8"), (data / "common.toml").read_text(encoding="utf-8")]
    text = "\n".join(parts)
    return text.replace(f'name = "{kind}"', f'name = "{name}"', 1) if name else text
