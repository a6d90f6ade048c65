"""Functions of users in what JAX compiles: hashable, checked, and never older than what they read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

__all__ = ["PointFunction", "fingerprint_bytes"]


class PointFunction:
    """A user's function, hashable by identity where it can't be hashed itself, checked to return a scalar.

    JAX compiles a function once and remembers what it read while it was traced: a global number, an attribute of a
    callable object, an array in a closure. `traced` reads them anew, and what is traced is equal only if they are.

    Args:
        function: what to call.
        name: what it is called in errors.
    """

    is_field: ClassVar[bool] = False
    """Whether it is a vector field in the place of a loss (`fields`)."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        """Wrap a function."""
        self.function = function
        self.name = name
        self.program: Any = None
        self._state = ""
        try:
            hash(function)
            self._key: Any = function
        except TypeError:  # a callable that holds arrays
            self._key = id(function)

    def __call__(self, *arguments: Any) -> jax.Array:
        """Call the function; raises if what it returns is not one float."""
        result = self.called(*arguments)
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(result)]
        if jax.tree.structure(result) != jax.tree.structure(0) or shapes != [()]:
            described = f"an array of shape {shapes[0]}" if len(shapes) == 1 else f"{len(shapes)} arrays"
            raise ValueError(f"{self.name} returned {described}; it must return one scalar for one point")
        try:
            value = jnp.asarray(result)
        except TypeError as error:  # a text, or an object
            raise TypeError(f"{self.name} returned {result!r}; it must return one scalar for one point") from error
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(f"{self.name} returned a scalar of dtype {value.dtype}; it must be a float")
        return value

    def called(self, *arguments: Any) -> Any:
        """What the function returns, whatever that is; raises if it can't be called."""
        try:
            return self.function(*arguments)
        except TypeError as error:
            if type(error) is not TypeError:  # JAX's own kinds say more
                error.add_note(
                    f"This came from {self.name}, which JAX traces: take jnp.where for an if on what depends on theta, "
                    "and jnp in the place of np and float()."
                )
                raise
            given = " and ".join(map(_described, arguments))
            raise TypeError(f"{self.name} can't be computed from {given}: {error}") from error

    def programmed(self) -> Callable[..., Any]:
        """What `program` is of."""
        return lambda *given: self(*given)

    def traced(self, *arguments: Any) -> PointFunction:
        """The same function with what it reads now, which `program` holds, as JAX's closed jaxpr.

        Args:
            *arguments: what it will be called with, or arrays of the same shapes.

        Example:
            >>> class Scaled:
            ...     scale = 2.0
            ...     def __call__(self, theta):
            ...         return self.scale * theta
            >>> loss = Scaled()
            >>> before = PointFunction(loss, "loss").traced(1.0)
            >>> loss.scale = 3.0
            >>> before == PointFunction(loss, "loss").traced(1.0)
            False
        """
        same = type(self)(self.function, self.name)
        same.program = jax.make_jaxpr(same.programmed())(*arguments)  # a new function: nothing is remembered
        found = hashlib.blake2b(re.sub(r"0x[0-9a-f]+", "", str(same.program)).encode())
        for constant in same.program.consts:
            found.update(fingerprint_bytes(constant))
        same._state = found.hexdigest()
        return same

    def __eq__(self, other: object) -> bool:
        """Equal when they wrap the same function, and it read the same."""
        return isinstance(other, PointFunction) and self._identity == other._identity

    def __hash__(self) -> int:
        """Hash the function or its identity."""
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Any, str, str]:
        return self._key, self.name, self._state


def fingerprint_bytes(array: Any) -> bytes:
    """The bytes of an array, of random keys too."""
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.ascontiguousarray(np.asarray(array)).tobytes()


def _described(argument: Any) -> str:
    """The shapes of a function's argument."""
    leaves, structure = tree_flatten_with_path(argument)
    shapes = [f"{keystr(path)}{'' if not path else ': '}{jnp.shape(leaf)}" for path, leaf in leaves]
    return f"an array of shape {shapes[0]}" if structure == jax.tree.structure(0) else f"arrays {', '.join(shapes)}"
