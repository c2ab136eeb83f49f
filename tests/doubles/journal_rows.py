"""Rows of journals that nothing measured."""


def latency_row(key: str, ratio: float, reference: float, **more: object) -> dict:
    """A stable row of one made-up device; `more` replaces or adds fields."""
    return {"space": "nasbench201", "key": key, "device": {"name": "d", "family": "f", "kind": "k"}, "repeat": 0,
            "metric": "latency_ms", "ratio": ratio, "raw_ms": ratio * reference, "reference_ms": reference,
            "deviation": 0.01, "quantiles": [ratio] * 4, "stable": True, "date": "2026-01-01", "protocol": {},
            "versions": {}, "host": {}, **more}  # fmt: skip
