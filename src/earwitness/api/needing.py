"""Optional dependencies of public functions: checked when the function is called, not when the package is imported."""

from __future__ import annotations

from earwitness.extras import need


def face_needs(name: str, *extras: str) -> None:
    """Raise `MissingExtra` unless the optional packages that the public function `name` needs are installed."""
    need(*extras, tried="using", on=f"earwitness.{name}")
