"""The code blocks of a page in Markdown run, one after the other, and print what the page says."""

import contextlib
import io
import re

import numpy as np

BLOCK = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def run_blocks(text, name):
    """Run every Python block of a page, compare what it prints with the text block below it, and return what they defined.

    Words must agree, and numbers to 3%: a tuned number may move by little.
    """
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```python"), f"{name}: a block does not say what it prints"
    namespace = {}
    for code, stated in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, name, "exec"), namespace)
        printed = out.getvalue()
        assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", stated).split(), f"{name}: {printed}"
        numbers, expected = (np.array(NUMBER.findall(text), dtype=float) for text in (printed, stated))
        np.testing.assert_allclose(numbers, expected, rtol=0.03, err_msg=f"{name}: {printed}")
    return namespace
