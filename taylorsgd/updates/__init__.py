"""Update rules: what an edge carries."""
