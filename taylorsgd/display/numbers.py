"""Numbers with their errors: as many digits as the error has to say something about."""

from math import floor, isfinite, log10

__all__ = ["with_error"]


def with_error(mean: float, error: float) -> str:
    """A number ± one standard error, both to the second digit of the error.

    An error of 0, of what is exact, is left out.

    Example:
        >>> with_error(0.490123, 0.00037), with_error(12345.6, 210.0), with_error(1.5e-9, 2e-11), with_error(0.5, 0)
        ('0.49012 ± 0.00037', '12350 ± 210', '(1.500 ± 0.020)e-09', '0.5')
    """
    mean, error = float(mean), float(error)
    if error == 0 or not isfinite(mean):
        return f"{mean:.6g}"
    if not isfinite(error):
        return f"{mean:.6g} ± {error}"
    last = floor(log10(error)) - 1
    if floor(log10(float(f"{error:.1e}"))) - 1 > last:  # 0.0996 is written 0.10
        last += 1
    largest = max(abs(mean), error)
    exponent = floor(log10(largest))
    if -5 < exponent < 7:
        return f"{_to(mean, last)} ± {_to(error, last)}"
    scale = 10.0**exponent
    digits = max(exponent - last, 0)
    return f"({mean / scale:.{digits}f} ± {error / scale:.{digits}f})e{exponent:+03d}"


def _to(number: float, last: int) -> str:
    """A number rounded to a power of ten."""
    return f"{round(number, -last):.{max(-last, 0)}f}"
