"""A valid call of every public function, and a pool of things that are mostly wrong wherever they are put."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import sympy
from sympy import Integer, Rational, Symbol

import taylorsgd as ts

L = ts.landscapes
x, y, lam = sympy.symbols("x y lambda")
HALF = Rational(1, 2)


@dataclass(frozen=True)
class Call:
    """A call that works: the function, its arguments by name, and how many examples it gets, relatively."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    share: float


CALLS: dict[str, Call] = {}


def call(name: str, function: Callable[..., Any], share: float = 1.0, /, **arguments: Any) -> None:
    assert name not in CALLS
    CALLS[name] = Call(function, arguments, share)


def item(container: Any) -> Callable[..., Any]:
    return lambda key: container[key]


# -- what calls are made of ---------------------------------------------------------------------------------


def point_loss(theta: Any, x: Any) -> Any:
    return theta**2 / 2 + x * theta


def plain_loss(theta: Any) -> Any:
    return jnp.sum(theta**2)


COIN = ts.FiniteLandscape([(x - 1) ** 2 / 2, (x + 1) ** 2 / 2], [HALF, HALF], [x])
POINTS = ts.Landscape(point_loss, jnp.array([-1.0, 1.0]))
PAIRS = ts.Landscape(lambda theta, x: jnp.sum(theta**2) / 2 + x * theta[0], jnp.array([-1.0, 1.0]))
SWIRL = ts.FiniteField([[-y, x]], [1], [x, y])
TOWARDS = ts.Field(lambda theta, x: x - theta, jnp.array([-1.0, 1.0]))
FORMULA = ts.derive(ts.TestLoss(), ts.SGD(), 2)
MOVED = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 2)
RESUMMED = ts.derive(ts.TestLoss(), ts.GD(), 1, resum="discrete").assume("minimum")
GAP = ts.derive(ts.GeneralizationGap(), ts.GD(), 1, resum="continuous")
FEATURES = L.linear_regression([2, 1], 1)
WIDE = FEATURES.in_many_dimensions()
RATES = [0.001, 0.002]
PREDICTED = ts.predict(FORMULA, POINTS, 0.5, eta=RATES, N=2, B=1, E=2, method=ts.MatrixFree("exact"))
MEASURED = PREDICTED.measurement
DENSE = ts.measure(GAP, PAIRS, jnp.zeros(2))
RUN = ts.simulate(POINTS, 0.5, ts.SGD(N=2, B=1, E=2), RATES, 4, 0)
EXPANDED = ts.expand(optax.sgd, POINTS, 0.5, ts.SGD(N=2, B=1, E=2), 1, trials=4, key=1)
SCATTERED = ts.derive(ts.Covariance(ts.Displacement(), ts.Displacement()), ts.SGD(N=2, B=1, E=1), 2)
CHAIN = ts.Diagram((-1, 0))
FLOW, LOSS = ts.modified_flow(2), ts.modified_loss(1)
FADING = ts.HeavyBall(HALF, decay=lam * ts.symbols.h)
DECAYING, DECAYING_LOSS = ts.modified_flow(2, FADING), ts.modified_loss(1, FADING)
GAME = ts.modified_flow(2, ts.Players([1, lam]))
ELEMENTWISE = ts.modified_flow(2, ts.Adam(HALF, HALF, lam))
ELEMENTWISE_LOSS = ts.modified_loss(1, ts.Adam(HALF, HALF, lam))
GENERATOR = ts.generator(2, ts.SGD(B=1, E=1))
LOWERED, LOWERED_GAP = FORMULA.lower(), GAP.lower()
EXACTLY = ts.MatrixFree("exact")
SIZES: dict[str, Any] = {"N": 2, "B": 1, "E": 1}

# -- the calls ----------------------------------------------------------------------------------------------

call("SGD", ts.SGD, N=4, B=2, E=1, shuffle=False, data="fresh")
call("SGD.embeddings", ts.SGD(B=1).embeddings, diagram=CHAIN)
call("SGD.substitute", ts.SGD().substitute, values={Symbol("N"): 4})
call("GD", ts.GD, N=4, T=2)
call("ODE", ts.ODE, T=2)
call("SDE", ts.SDE, T=2, B=1)
call("Replacement", ts.Replacement, N=4, B=1, T=2, data="fresh")
call("Grid", ts.Grid, cells=[[1, 0], [0, 1]])
call("Descent", ts.Descent, rates=[1, 2], decay=0, metric=[[1]])
call("HeavyBall", ts.HeavyBall, beta=HALF, rates=None, convention="polyak", decay=0)
call("Nesterov", ts.Nesterov, beta=HALF, rates=None, convention="torch", decay=0)
call("RMSProp", ts.RMSProp, rho=HALF, epsilon=1, epsilon_inside=False)
call("Adam", ts.Adam, beta1=HALF, beta2=HALF, epsilon=1, decay=0, epsilon_inside=False)
call("Players", ts.Players, rates=[1, lam], order="simultaneous", split=None, steps=None, method="descent")
call("Elementwise", ts.Elementwise, states={lam: (HALF, ts.symbols.g)}, step=lam)
call("SecondOrder", ts.SecondOrder, lam=1)
call("ImplicitStep", ts.ImplicitStep, lam=1)
call("GDC", ts.GDC, B=1)
call("LinearWarmup", ts.LinearWarmup, steps=3)
call("LinearWarmup.rates", ts.LinearWarmup().rates, updates=2)
call("Cosine.rates", ts.Cosine().rates, updates=2)
call("Observable", ts.Observable, s=x**2, name="s")
call("SecondMoment", ts.SecondMoment, a=ts.TestLoss(), b=ts.TestLoss(), times=(1, 2))
call("Covariance", ts.Covariance, a=ts.TestLoss(), b=ts.TestLoss(), times=(1, 2))
call("Variance", ts.Variance, a=ts.TestLoss())
call("Diagram", ts.Diagram, parents=(-1, 0, 0), parts=(0, 1, 1))
call("Diagram.parse", ts.Diagram.parse, text="(a a)")
call("Diagram.from_data", ts.Diagram.from_data, data=CHAIN.to_data())
call("Diagram.from_networkx", ts.Diagram.from_networkx, graph=CHAIN.to_networkx())
call("Diagram.degree", CHAIN.degree, node=0)
call("Diagram.svg", CHAIN.svg, scale=10.0)
call("Diagram.tikz", CHAIN.tikz, scale=1.0)
call("Diagram.save", CHAIN.save, path="chain.svg", scale=10.0)
call("Value", ts.Value, parents=(-1, 0), parts=None, marks=["", ""], moments=False)
call("Value.from_data", ts.Value.from_data, data=FORMULA.terms[1].value.to_data())
call("count_diagrams", ts.count_diagrams, order=2)
call("diagrams_of_order", lambda order: list(ts.diagrams_of_order(order)), order=2)
call("embeddings_of", ts.embeddings_of, diagram=ts.Diagram.parse("(a a)"), spacetime=ts.SGD(N=2, B=1, E=2))
call(
    "Embedding.contribution", ts.embeddings_of(ts.Diagram.parse("(a a)"), ts.SGD(N=2, B=1, E=2))[0].contribution,
    observable=ts.TestLoss(), resum="discrete",
)  # fmt: skip
call("FiniteLandscape", ts.FiniteLandscape, losses=[x, x**2], weights=[HALF, HALF], variables=[x])
call("FiniteLandscape.point", COIN.point, at=[1])
call("FiniteLandscape.moment", COIN.moment, degrees=(1, 1), at=1)
call("FiniteLandscape.cumulant", COIN.cumulant, degrees=(1, 1), at=1)
call("FiniteField", ts.FiniteField, fields=[[x], [x**2]], weights=[HALF, HALF], variables=[x])
call("FiniteField.cumulant", SWIRL.cumulant, degrees=(0, 1), at=[1, 2])
call("Field", ts.Field, u=lambda theta, x: x - theta, data=jnp.array([-1.0, 1.0]))
call("Field.mean", TOWARDS.mean, theta=0.5)
call("landscapes.sharpness_aware", L.sharpness_aware, landscape=COIN, rho=1, epsilon=1, batch=1)
call("landscapes.clipped", L.clipped, landscape=COIN, threshold=1, batch=1)
call("landscapes.normalized", L.normalized, landscape=POINTS, epsilon=1.0, batch=1)
call("landscapes.natural_gradient", L.natural_gradient, landscape=COIN, metric=[[1]])
call("landscapes.game", L.game, losses=[point_loss], data=jnp.array([1.0]), rates=[1.0])
call("landscapes.geodesic_descent", L.geodesic_descent, landscape=COIN, metric=[[1]], order=1, at=[0], batch=1)
call("landscapes.at_rate", L.at_rate, found=x, order=1)
call("RungeKutta", ts.RungeKutta, A=[[0]], b=[1])
call("modified_flow", ts.modified_flow, order=2, update=None)
call("modified_loss", ts.modified_loss, order=1, update=None)
call("generator", ts.generator, order=2, spacetime=ts.SGD(B=1, E=1), update=None)
call("Generator()", GENERATOR, observable=ts.Observable(x**2))
call("Generator[]", item(GENERATOR), key=1)
call("modified_sde", ts.modified_sde, order=2, spacetime=ts.SGD(B=1, E=1), update=None)
call("scaling_rule", ts.scaling_rule, kappa=2, order=2, update=None, becomes=None)
call("ScalingRule.failure", ts.scaling_rule().failure, landscape=COIN, at=[1], eta=HALF, B=2, kappa=2)
call("QuadraticGenerator.coefficient", GENERATOR.resummed().coefficient, degree=1, landscape=COIN, at=[1], eta=HALF)
call("ModifiedFlow", ts.ModifiedFlow, coefficients={CHAIN: HALF}, order=2)
call("modified_map", ts.modified_map, order=2, update=None)
call("ModifiedMap", ts.ModifiedMap, coefficients={CHAIN: HALF}, order=2)
call("ModifiedFlow.evaluate", FLOW.evaluate, landscape=COIN, at=1, penalty=None)
call("ModifiedFlow.lower", FLOW.lower, loss=plain_loss)
call("DecayingFlow.evaluate", DECAYING.evaluate, landscape=COIN, at=1, penalty=None, origin=[0])
call("DecayingFlow[]", item(DECAYING), key=1)
call("DecayingLoss.expression", DECAYING_LOSS.expression, E=x**2, variables=[x], origin=[0])
call("PlayersFlow.evaluate", GAME.evaluate, landscape=ts.FiniteLandscape([x * y], [1], [x, y]), at=[1, 2], penalty=None)
call("PlayersFlow.player", GAME.player, number=1)
call("PlayersFlow.lower", GAME.lower, loss=plain_loss)
call("PlayersFlow[]", item(GAME), key=1)
call("ElementwiseFlow.evaluate", ELEMENTWISE.evaluate, landscape=COIN, at=2, penalty=None)
call("ElementwiseFlow.limit", ELEMENTWISE.limit, parameter=lam, to=0)
call("ElementwiseFlow.truncate", ELEMENTWISE.truncate, order=1)
call("ElementwiseFlow[]", item(ELEMENTWISE), key=1)
call("ElementwiseLoss.expression", ELEMENTWISE_LOSS.expression, E=x**2, variables=[x])
call("LoweredField()", FLOW.lower(plain_loss), 0.5, theta=jnp.ones(2), h=0.1)
call("ModifiedFlow.field", FLOW.field, f=[x**2], variables=[x])
call("ModifiedFlow.truncate", FLOW.truncate, order=1)
call("ModifiedFlow.weight", FLOW.weight, tree=CHAIN)
call("ModifiedFlow.latex", FLOW.latex, gradient=False)
call("ModifiedFlow[]", item(FLOW), key=1)
call("ModifiedLoss", ts.ModifiedLoss, flow=FLOW)
call("ModifiedLoss.expression", LOSS.expression, E=x**2, variables=[x])
call("ModifiedLoss.truncate", LOSS.truncate, order=1)
call("ModifiedLoss[]", item(LOSS), key=1)
call(
    "derive", ts.derive, 2.0,
    observable=ts.TestLoss(), spacetime=ts.GD(), order=1, resum=None, update=None, penalty=None,
)  # fmt: skip
call("Formula", ts.Formula, terms=FORMULA.terms, spacetimes=FORMULA.spacetimes, observables={}, indices=0, metric=None,
     rate=ts.symbols.eta, expectations=None, through=2)  # fmt: skip
call("Formula.from_json", ts.Formula.from_json, text=FORMULA.to_json())
call("Formula.evaluate", FORMULA.evaluate, 2.0, landscape=COIN, at=[1], eta=HALF, metric=[[1]], **SIZES)
call("Formula.evaluate, resummed", RESUMMED.evaluate, landscape=COIN, at=[0], eta=HALF, metric=[[1]], N=2, T=2)
call("Formula.subs", FORMULA.subs, **SIZES)
call("Formula.subs, mapping", lambda sizes: FORMULA.subs(sizes), sizes={"N": 4})
call("Formula.subs, rate", FORMULA.subs, eta=lam)
call("Formula.solve_sizes", FORMULA.solve_sizes, given={"N": 4})
call("Formula.assume", lambda name: FORMULA.assume(name), name="minimum")
call("Formula.leading", FORMULA.leading, size="N")
call("Formula.coefficient", FORMULA.coefficient, which="G G")
call("Formula.compare", FORMULA.compare, other=FORMULA)
call("Formula.truncate", FORMULA.truncate, order=1)
call("Formula.under", FORMULA.under, metric=None)
call("Formula.part", FORMULA.part, terms=FORMULA.terms)
call("Formula[]", item(FORMULA), key=1)
call("Formula.latex", FORMULA.latex, width=34, environment=None, lhs=True, eta=False, sums=False)
call("Formula.text", FORMULA.text, width=110, lhs=True, eta=False, sums=False)
call("Formula.to_python", FORMULA.to_python, backend="numpy", name="formula")
call("Term", ts.Term, coefficient=Integer(1), value=FORMULA.terms[0].value, diagrams=())
call("Term.explain", FORMULA.terms[1].explain, spacetime=None)
call("perturb", ts.perturb, observable=ts.TestLoss(), spacetime=ts.GD(N=1, T=1), landscape=COIN, at=1, order=1,
     update=None, penalty=None, metric=None)  # fmt: skip

# what compiles, unless it refuses at once
call("Landscape", ts.Landscape, loss=point_loss, data=jnp.ones(2), expected=None)
call("Landscape.draw", POINTS.draw, key=jax.random.key(0), shape=(2,))
call("Landscape.rows", POINTS.rows, indices=[0, 1])
call("Landscape.losses", POINTS.losses, 0.5, theta=0.5, batch=jnp.ones(2))
call("Landscape.population_loss", POINTS.population_loss, theta=0.5)
call("MatrixFree", ts.MatrixFree, estimator="centred", batch=2, chunk=None, memory=None, checkpoint=None)
call("TopEigenpairs", ts.TopEigenpairs, count=1, batch=4)
call("plan", ts.plan, formula=FORMULA, landscape=POINTS, method=None)
call("measure", ts.measure, formula=FORMULA, landscape=POINTS, theta=0.5, method=EXACTLY, key=0, samples=None,
     progress=False)  # fmt: skip
call("predict", ts.predict, formula=FORMULA, landscape=POINTS, theta=0.5, eta=RATES, key=0, samples=None, method=None,
     measurement=MEASURED, tolerance=0.02, progress=False, **SIZES)  # fmt: skip
call("predict, along", ts.predict, 0.5, formula=SCATTERED, landscape=PAIRS, theta=np.zeros(2), eta=0.1, along=np.eye(2),
     key=0, samples=4, method=None, measurement=None, tolerance=0.02, progress=False)  # fmt: skip
call("principal_components", ts.principal_components, 0.5, formula=SCATTERED, landscape=PAIRS, theta=np.zeros(2),
     eta=0.1, count=1, key=0, samples=4, method=None)  # fmt: skip
call("simulate", ts.simulate, landscape=POINTS, theta=0.5, spacetime=ts.SGD(N=2, B=1, E=2), eta=RATES, trials=4, key=0,
     update=None, observables=(), test_points=None, refinement=None, chunk=None, progress=False)  # fmt: skip
call("expand", ts.expand, 0.5, optimizer=optax.sgd, landscape=POINTS, theta=0.5, spacetime=ts.SGD(N=2, B=1, E=2),
     order=1, observable=None, trials=4, key=0, test_points=None, chunk=None, progress=False)  # fmt: skip
call("expand().predict", EXPANDED.predict, eta=RATES, tolerance=0.02)
call("expand()[]", item(EXPANDED), key=1)
call("compare, expanded", ts.compare, prediction=EXPANDED.predict(RATES), simulation=RUN, observable=None, strict=True)
call("compare", ts.compare, prediction=PREDICTED, simulation=RUN, observable=None, strict=True)
call("check", ts.check, 0.5, formula=ts.TestLoss(), landscape=POINTS, theta=0.5, spacetime=ts.SGD(N=2, B=1, E=2),
     eta=RATES, order=1, update=None, trials=4, key=0, samples=None, method=EXACTLY, tolerance=0.9,
     progress=False)  # fmt: skip
call("tensors", ts.tensors, landscape=POINTS, theta=0.5, names=("G",), key=None, samples=4)
call("Lowered()", LOWERED, tensors=MEASURED, eta=0.1, **SIZES)
call("Lowered.contributions", LOWERED.contributions, 0.5, tensors=MEASURED, eta=0.1, **SIZES)
call("Lowered.weights", LOWERED.weights, 0.5, eta=0.1, **SIZES)
call("LoweredResummed()", LOWERED_GAP, 0.5, tensors=DENSE, eta=0.1, metric=None, N=2, T=2)
call("Simulation.statistic", RUN.statistic, observable=ts.TestLoss())
call("Measurement[]", item(MEASURED), key=FORMULA.terms[0].value)
call("Measurement.save", MEASURED.save, path="measured.npz")
call("Measurement.load", L.Measurement.load, path="measured.npz", like=None)
call("landscapes.NormalLandscape", L.NormalLandscape, sample_loss=x * y, variables=[x], noise=y, variances=[2])
call("landscapes.ToyLandscape", L.ToyLandscape, name="a", sample_loss=x * y, variables=[x], noise=y, start=[1],
     variances=[2])  # fmt: skip
call("landscapes.helix", L.helix, tilt=HALF)
call("landscapes.mean_estimation", L.mean_estimation, H=2, S=1)
call("landscapes.linear_regression", L.linear_regression, spectrum=[2, 1], noise=1, start=[1, 1])
call("landscapes.LinearRegression", L.LinearRegression, spectrum=[2, 1], noise=1, start=[1, 1])
call("landscapes.LinearRegression.in_many_dimensions", FEATURES.in_many_dimensions, weights=[1, 2])
call("landscapes.LinearRegression.moments", FEATURES.moments, eta=HALF, T=3, B=1, update=None, full=False)
call("landscapes.LinearRegression.stationary", FEATURES.stationary, eta=0.1, B=1, update=None, full=False)
call("landscapes.LinearRegression.curve", FEATURES.curve, 0.5, eta=0.1, times=[0, 3], B=1, update=None)
call("landscapes.LinearRegression, wide", WIDE.moments, eta=HALF, T=3, B=HALF, update=None, full=False)
call("landscapes.explicitly_regularized", L.explicitly_regularized, loss=plain_loss, mu=0.1)
call("landscapes.implicitly_regularized", L.implicitly_regularized, loss=plain_loss, h=0.1)
for _name in ("gradient_regularizer", "loss_surface_slope", "metric_determinant"):
    call(f"landscapes.{_name}", getattr(L, _name), 0.5, loss=plain_loss, theta=jnp.ones(2))
call("landscapes.akaike", L.akaike, 0.5, theta=jnp.ones(2), batch=jnp.ones(4))
call("landscapes.takeuchi", L.takeuchi, 0.5, loss=point_loss, theta=0.5, batch=jnp.array([-1.0, 1.0]))
call("landscapes.gap_estimate", L.gap_estimate, 0.5, loss=point_loss, theta=0.5, batch=jnp.array([-1.0, 1.0]), time=1.0)
call("landscapes.norm_growth_bound", L.norm_growth_bound, 0.5, loss=plain_loss, theta=jnp.ones(2), h=0.1)
call("landscapes.regularization_rate", L.regularization_rate, h=0.1, theta=jnp.ones(2))
call("landscapes.TangentKernel", L.TangentKernel, residuals=lambda theta: theta * 2, theta=jnp.ones(2), scale=1.0)
call("landscapes.digits", L.digits, 0.3, hidden=2, seed=0)
_images: dict[str, Any] = {"images": np.zeros((2, 13, 13)), "labels": np.array([0, 1])}
call("landscapes.attention_head", L.attention_head, 0.5, tokens=np.zeros((2, 3, 2)), labels=np.array([0, 1]), width=2,
     seed=0)  # fmt: skip
call("landscapes.with_dropout", L.with_dropout, 0.5, loss=lambda theta, x, mask: theta * x * mask[0],
     data=np.ones(3), shape=(2,), keep=0.5)  # fmt: skip
call("landscapes.convolutional_net", L.convolutional_net, 0.5, **_images, seed=0)
call("landscapes.logistic_regression", L.logistic_regression, 0.5, **_images)
call("landscapes.fashion_mnist", L.fashion_mnist, folder="nowhere", part="train")

WITHOUT_ARGUMENTS = {
    "Cosine", "Dense", "Displacement", "GeneralizationGap", "TestLoss", "TrainLoss", "landscapes.gauss",
}  # fmt: skip
"""Public names that take nothing."""
MADE_BY_OTHERS = {
    f"landscapes.{kind}"
    for kind in (
        "DenseMeasurement", "MomentCurve", "MomentRecursion", "Prediction", "RegressionMoments", "SpectralMeasurement",
    )
}  # fmt: skip
"""Classes of answers, which nobody makes by hand."""

# -- the pool -----------------------------------------------------------------------------------------------


class Plain:
    """A class whose constructor takes nothing."""


POOL: dict[str, Any] = {
    "None": None, "True": True, "-1": -1, "0": 0, "2**70": 2**70, "10**30": 10**30, "0.5": 0.5, "nan": float("nan"),
    "inf": float("inf"), "-inf": -float("inf"), "1j": 1j, "Fraction": Fraction(1, 3), "Decimal": Decimal("0.1"),
    "Decimal nan": Decimal("nan"), "signaling nan": Decimal("sNaN"),
    "'a'": "a", "''": "", "code": "__import__('os')", "b'a'": b"a", "[]": [], "{}": {}, "[1, 'a']": [1, "a"],
    "{'a': 1}": {"a": 1}, "{code: 1}": {"__import__('os')": 1}, "(0.5, nan)": (0.5, float("nan")),
    "ragged": [[1, 2], [3]], "lambda": lambda *_: None, "object": object(), "class": Plain,
    "float16": np.ones(3, np.float16), "int64 array": np.arange(4), "complex array": np.ones(2, complex),
    "objects": np.array([None, "a"], object), "texts": np.array(["a", "b"]), "nan array": np.array([1.0, np.nan]),
    "empty": np.zeros(0), "3 x 3": np.ones((3, 3)), "2 x 3 x 4": np.zeros((2, 3, 4)), "np.nan": np.float32("nan"),
    "np.int64": np.int64(3), "np.True_": np.True_, "date": np.datetime64("2020-01-01"), "0-d": np.array(0.5),
    "jax": jnp.ones(3), "jax nan": jnp.array(jnp.nan), "jax ints": jnp.arange(2), "jax bool": jnp.array(True),
    "jax keys": jax.random.split(jax.random.key(0), 3),
    "S.NaN": sympy.nan, "oo": sympy.oo, "zoo": sympy.zoo, "I": sympy.I, "x": x, "x + oo": x + sympy.oo,
    "negative": Symbol("m", negative=True), "Float": sympy.Float("0.5"), "sqrt(2)": sympy.sqrt(2), "x < y": x < y,
    "true": sympy.true, "Matrix": sympy.Matrix([[1, 2], [3, x]]), "Tuple": sympy.Tuple(x, 1),
    "MatrixSymbol": sympy.MatrixSymbol("A", 2, 2), "Function": sympy.Function("f"),
    "SGD": ts.SGD, "TestLoss": ts.TestLoss, "GD huge": ts.GD(N=2, T=10**30), "GD symbols": ts.GD(),
    "SGD huge": ts.SGD(N=10**30, B=1, E=1), "SGD shuffled": ts.SGD(N=30, B=3, E=2, shuffle=True),
    "ODE huge": ts.ODE(T=10**30), "SDE huge": ts.SDE(T=10**30, B=1), "Replacement huge": ts.Replacement(2, 10**30, 1),
    "fixed": ts.SGD(N=2, B=1, E=1, shuffle=True, data="fixed"), "TrainLoss()": ts.TrainLoss(),
    "Displacement()": ts.Displacement(), "Covariance()": ts.Covariance(ts.TestLoss(), ts.TestLoss(), times=(1, 2)),
    "Observable": ts.Observable(x**2), "Observable of text": ts.Observable(lambda theta: "a"),
    "HeavyBall": ts.HeavyBall(HALF), "HeavyBall symbol": ts.HeavyBall(lam), "HeavyBall I": ts.HeavyBall(sympy.I),
    "SecondOrder I": ts.SecondOrder(sympy.I), "warm-up": ts.Descent(rates=ts.LinearWarmup(5)),
    "one rate": ts.Descent(rates=[1]), "GDC": ts.GDC(1), "metric": ts.Descent(metric=[[2, 0], [0, 1]]),
    "RungeKutta": ts.RungeKutta([[0]], [1]), "formula": FORMULA, "moved": MOVED, "resummed": RESUMMED, "gap": GAP,
    "part": FORMULA[1], "diagram": CHAIN, "tied": ts.Diagram.parse("(a a)"), "value": FORMULA.terms[1].value,
    "points": POINTS, "pairs": PAIRS, "coin": COIN, "gauss": L.gauss(), "measured": MEASURED, "dense": DENSE,
    "predicted": PREDICTED, "run": RUN, "MatrixFree": ts.MatrixFree(), "Dense": ts.Dense(),
    "TopEigenpairs": ts.TopEigenpairs(3), "optax.adam": optax.adam, "optax.adam(0.1)": optax.adam(0.1),
    "sampler of None": ts.Landscape(point_loss, lambda key, n: None),
    "vector loss": ts.Landscape(lambda theta, x: jnp.ones(2) * theta, jnp.ones(2)),
    "nan loss": ts.Landscape(lambda theta, x: theta * jnp.nan * x, jnp.ones(2)),
    "nan data": ts.Landscape(point_loss, jnp.array([1.0, jnp.nan])),
}  # fmt: skip
"""By a name that Hypothesis prints."""
