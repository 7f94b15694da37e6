"""One codec, one jitter buffer, one scorer and one path for Earwitness, as `docs/extending.md` walks through them."""
