"""S. Tenka, *SGD at Small Learning Rates*: its figures, corollaries, author responses, and mistakes in print.

Test loss, gap and displacement of SGD are sums over diagrams, each embedded in spacetime in all ways. The paper
predicts with them what SGD does on images and on landscapes where all is known:

    sgd-test-loss         the test loss of SGD on images against ηT: Figure 2, left
    sgd-gap               the generalization gap likewise: Figure 2, center
    sgd-gdc               GDC imitates SGD better than GD does: Figure 2, center, and Corollary 1
    sgd-epochs            several epochs against one: Figure 10, left, and Corollary 2
    sgd-helix             how fast SGD drifts along HELIX's valley: Figure 2, right, and Corollary 4
    sgd-landscape         HELIX drawn, with a trajectory: Figure 3
    sgd-sde               SGD against its SDE on GAUSS: Figure 10, center, and Corollary 3
    sgd-mean-estimation   sharp and flat minima overfit less: Figure 2, right, and Corollary 5
    sgd-l2-tuning         an l₂ penalty tuned by descent on STIC: Figure 10, right, and Corollary 5
    sgd-model-selection   models selected by AIC, TIC and STIC: Corollary 5
    sgd-diagrams          spacetimes, embeddings and diagrams: Figures 4 to 9 and Table 1
    sgd-curvature         sectional curvature and the generalization gap: Conjecture 1
    sgd-noise-kinds       vector and covector noise on a real landscape: Figure 1, right
    sgd-smoothing         SGD on a landscape smoothed by its noise: Section 3.3
    sgd-responses         what the two author responses claim
    sgd-errata            corollaries, and a table of coefficients, that are not so
"""

__all__ = ["EXPERIMENTS", "TITLE"]

TITLE = "SGD at Small Learning Rates"
"""The paper's."""

EXPERIMENTS = {
    "sgd-curvature": "curvature_conjecture",
    "sgd-diagrams": "diagram_figures",
    "sgd-epochs": "several_epochs",
    "sgd-errata": "corollary_errata",
    "sgd-gap": "loss_and_gap:GAP",
    "sgd-gdc": "gdc_imitation",
    "sgd-helix": "helix_velocity",
    "sgd-l2-tuning": "penalty_tuning",
    "sgd-landscape": "helix_drawn",
    "sgd-mean-estimation": "flat_and_sharp",
    "sgd-model-selection": "model_selection",
    "sgd-noise-kinds": "noise_kinds",
    "sgd-responses": "author_responses",
    "sgd-sde": "sde_difference",
    "sgd-smoothing": "smoothed_landscape",
    "sgd-test-loss": "loss_and_gap:TEST_LOSS",
}
"""The experiments by their commands' names, with the module of each, and the constant there if it is not EXPERIMENT."""
