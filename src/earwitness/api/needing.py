"""What a public function needs beside the core is looked for as it is called, not as the package is imported."""

from __future__ import annotations

from earwitness.extras import need


def face_needs(name: str, *extras: str) -> None:
    """Raise `MissingExtra` unless the packages are installed that the public function `name` needs beside the core."""
    need(*extras, tried="using", on=f"earwitness.{name}")
