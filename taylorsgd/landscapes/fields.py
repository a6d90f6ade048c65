r"""Vector fields on parameters in JAX: training that is no descent of a loss.

Whatever measures or simulates a loss l_x reads, of all its derivatives, chains that begin with a gradient: ∇l,
D_v ∇l, D_v D_w ∇l, …. A field u_x gives the same chains −u, −D_v u, −D_v D_w u, … (`Slope`), as long as they are read
from the leaves of a diagram to its root: there ∂_ν u^μ is no symmetric matrix, and nothing may be read backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from attrs import field, frozen
from jax.tree_util import keystr, tree_flatten_with_path

from taylorsgd.landscapes.landscape import Landscape
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import inner, squared_norm

__all__ = ["Field", "Slope"]


class Slope(PointFunction):
    """A field u_x(θ) in the place of a loss: a function whose derivative along v is −u·v.

    There need not be any such function, and derivatives are all that it is good for: its value, |u|², only says
    whether the field is finite, and tells fields apart.

    Args:
        function: u(theta, x), a pytree like theta.
        name: what it is called in errors.

    Example:
        >>> swirl = Slope(lambda theta, x: (-x * theta[1], x * theta[0]), "u")
        >>> [float(entry) for entry in jax.grad(swirl)((3.0, 5.0), 2.0)]
        [10.0, -6.0]
    """

    is_field = True

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        """Wrap a field."""
        super().__init__(function, name)
        self._form = jax.custom_jvp(lambda theta, *point: squared_norm(self.along(theta, *point)))

        def derivative(primals: Any, tangents: Any) -> tuple[Any, Any]:
            found = self.along(*primals)
            return squared_norm(found), -inner(found, tangents[0])

        self._form.defjvp(derivative)

    def __call__(self, *arguments: Any) -> jax.Array:
        """|u|², whose derivative is said to be −u."""
        theta, *point = arguments
        return self._form(jax.tree.map(jnp.asarray, theta), *point)

    def along(self, theta: Any, *point: Any) -> Any:
        """The field u_x(θ), checked to be like θ.

        Raises:
            TypeError: if a leaf is no float.
            ValueError: if its structure or the shape of a leaf is another.
        """
        found = self.called(theta, *point)
        if jax.tree.structure(found) != jax.tree.structure(theta):
            raise ValueError(
                f"{self.name} returned {jax.tree.structure(found)} for theta={jax.tree.structure(theta)}; a field is "
                "a pytree like theta"
            )
        pairs = zip(tree_flatten_with_path(found)[0], jax.tree.leaves(theta), strict=True)
        return jax.tree.unflatten(jax.tree.structure(theta), [self._checked(*leaf, like) for leaf, like in pairs])

    def _checked(self, path: Any, leaf: Any, like: Any) -> jax.Array:
        name = f"{self.name}{keystr(path)}"
        try:
            array = jnp.asarray(leaf)
        except TypeError as error:
            raise TypeError(f"{name} is {leaf!r}, which is not an array; a field is a pytree like theta") from error
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} has dtype {array.dtype}; a field must be of floats, as theta is")
        if array.shape != jnp.shape(like):
            raise ValueError(f"{name} has shape {array.shape}, and theta there {jnp.shape(like)}; they must agree")
        return array.astype(jnp.result_type(like))

    def programmed(self) -> Callable[..., Any]:
        """The field itself: what it is made of is looked at, rather than its slope."""
        return lambda *given: self.along(*given)


@frozen(eq=False, repr=False)
class Field:
    """A vector field u_x on the parameters, with x from a population of data, or from a sampler.

        θ ← θ + η u_x(θ),        averaged over the batch.

    A field goes wherever a `Landscape` does: into `measure`, `predict`, `simulate`, `check`. What is observed is the
    `Displacement`, an `Observable(s)` or moments of these: a field has no loss. In a value G_μ stands for −u^μ, H_μν
    for −∂_ν u^μ and so on, read from the leaves to the root; `FiniteField` says why. Where the rule is not a mean over
    points, let a whole batch be one point x, as `landscapes.sharpness_aware` and its like do.

    Args:
        u: a function `u(theta, x)` that returns a pytree like theta, differentiable by JAX in theta as often as the
            order of what is measured asks.
        data: as for `Landscape`.

    Attributes:
        size: the number of points, None for a sampler.

    Raises:
        TypeError: if `u` is not callable, or `data` holds something that is no array.
        ValueError: if `data` is empty, or its arrays have different leading axes. Whoever calls u raises if it returns
            something that is not like theta.

    Example:
        A generator at θ_0 and a discriminator of slope θ_1, both learning from points x: the Dirac GAN.

        >>> import jax, jax.numpy as jnp, taylorsgd as ts
        >>> def u(theta, x):
        ...     mean, slope = theta
        ...     return -slope * jax.nn.sigmoid(slope * mean), mean * jax.nn.sigmoid(slope * mean) - x
        >>> gan = ts.Field(u, jnp.array([-0.1, 0.1]))
        >>> moved = ts.Observable(lambda theta: theta[0] ** 2 + theta[1] ** 2, name="r")
        >>> f = ts.derive(moved, ts.SGD(B=1, E=1), order=2)
        >>> found = ts.predict(f, gan, (0.5, 0.0), eta=0.01, N=10, method=ts.MatrixFree("exact"))
        >>> print(f"{float(found.mean):.5f}")
        0.25007
    """

    u: Callable[[Any, Any], Any]
    data: Any = field()
    _place: Landscape = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Check the function and the data."""
        if not callable(self.u):
            raise TypeError(f"u={self.u!r} is not a function; it is called as u(theta, x)")
        object.__setattr__(self, "_place", Landscape(Slope(self.u, "u"), self.data))
        object.__setattr__(self, "data", self._place.data)

    def as_landscape(self) -> Landscape:
        """The landscape of its slopes −u, for what takes derivatives only."""
        return self._place

    @property
    def size(self) -> int | None:
        """The number of points in the population; None for a sampler."""
        return self._place.size

    def mean(self, theta: Any) -> Any:
        """The mean field u(θ) = E_x[u_x(θ)] over the population, a pytree like θ.

        Raises:
            TypeError: if θ has leaves that are no floats, or the field.
            ValueError: if the data are a sampler, or the field is not like θ.

        Example:
            >>> import jax.numpy as jnp, taylorsgd as ts
            >>> print(ts.Field(lambda theta, x: x - theta, jnp.array([0.0, 1.0])).mean(2.0))
            -1.5
        """
        return jax.tree.map(jnp.negative, self._place.population_slope(theta))

    def __repr__(self) -> str:
        """The field and the extent of the data."""
        name = getattr(self.u, "__name__", repr(self.u))
        return f"<Field {name} on {'a sampler' if self.size is None else f'{self.size} points'}>"
