"""Numbers with their errors.

Identities:
    (1) reading the text back gives the number to a tenth of the error, and the error to 5 %
    (2) an error is written with two digits
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taylorsgd.display.numbers import with_error


def read(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"\(?(-?[\d.]+) ± ([\d.]+)\)?(?:e([+-]\d+))?", text)
    assert found, text
    scale = 10.0 ** int(found[3] or 0)
    return float(found[1]) * scale, float(found[2]) * scale


@given(mean=st.floats(-1e9, 1e9), size=st.floats(-12, 3), digits=st.floats(1, 9.94))
def test_text_says_the_number_and_its_error(mean: float, size: float, digits: float) -> None:
    error = digits * 10.0 ** round(size)
    written, uncertain = read(with_error(mean, error))
    assert uncertain == pytest.approx(error, rel=0.051)
    assert abs(written - mean) <= error / 10 + 1e-9 * abs(mean)


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.490123, 0.00037, "0.49012 ± 0.00037"),
        (1.0, 0.0996, "1.00 ± 0.10"),
        (12345.6, 210.0, "12350 ± 210"),
        (0.0, 3.0, "0.0 ± 3.0"),
        (-1.5e-9, 2e-11, "(-1.500 ± 0.020)e-09"),
        (0.5, 0.0, "0.5"),
        (float("nan"), 1.0, "nan"),
        (1.0, float("nan"), "1 ± nan"),
    ],
)
def test_examples(mean: float, error: float, text: str) -> None:
    assert with_error(mean, error) == text
