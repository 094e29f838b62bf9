"""Numbers as people write them."""


def plain_exponent(text: str) -> str:
    """A number as people write it: `1e9`, not `1e+09`.

    >>> plain_exponent(f"{2.5e9:.3g}"), plain_exponent(f"{2.5e-9:.3g}")
    ('2.5e9', '2.5e-9')
    """
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
