"""Claims pass, fail or stay open by numbers that are made for it."""

from __future__ import annotations

from w2wpath.benchmarks.bench.claims import Measured, claims
from w2wpath.benchmarks.study.resampling import Figure


def acc(value: float, half: float = 0.01) -> dict[str, Figure]:
    return {"accuracy": Figure(value, value - half, value + half, float("nan"), 100)}


def verdicts(measured: Measured) -> dict[str, str]:
    return {claim.text: claim.verdict for claim in claims(measured)}


TEXTS = (
    "Sp-MNIST: more of the spurious is found in test than in training",
    "Sp-CIFAR10: more of the spurious is found in training than in test",
    "Sp-CIFAR10: the share found in training falls from 10 to 30 %",
    "roy: about as the deterministic network",
    "koehler: about as the deterministic network",
    "Wiped (recommended) at least as the deterministic network on every Sp set, within intervals",
    "random at most as recommended on every Sp set, within intervals",
    "recommended at most as oracle on every Sp set, within intervals",
    "accuracy of the deterministic network falls with noise",
)


def test_nothing_measured_leaves_every_claim_open() -> None:
    assert verdicts(Measured({}, {}, {})) == dict.fromkeys(TEXTS, "not measured")


def test_what_the_paper_says_passes() -> None:
    rows = {"recommended": acc(0.9), "random": acc(0.8), "oracle": acc(0.95), "deterministic": acc(0.85)}
    rivals = {"roy": acc(0.851), "koehler, best of 6 (0.9)": acc(0.846)}
    clean = {"deterministic": acc(0.95)}
    names = [f"Sp-CIFAR10-{share}" for share in (10, 20, 30)]
    measured = Measured(
        {"MNIST": clean, "Sp-MNIST-10": rows | rivals},
        {"Sp-MNIST-10": 0.5, **dict(zip(names, (0.6, 0.5, 0.4), strict=True))},
        {"Sp-MNIST-10": 0.6, **dict.fromkeys(names, 0.3)},
    )
    assert verdicts(measured) == dict.fromkeys(TEXTS, "pass")
    assert claims(measured)[0].numbers == "Sp-MNIST-10 training 0.500, test 0.600"


def test_a_rival_is_held_against_the_network_of_its_own_settings() -> None:
    rows = {"all": acc(0.95), "deterministic": acc(0.8), "roy": acc(0.951)}
    found = next(claim for claim in claims(Measured({"MNIST": rows}, {}, {})) if claim.text.startswith("roy"))
    assert (found.verdict, found.numbers) == ("pass", "MNIST 0.951 / 0.950")
    alone = {"all": acc(0.8), "deterministic": acc(0.95), "roy": acc(0.951)}
    found = next(claim for claim in claims(Measured({"MNIST": alone}, {}, {})) if claim.text.startswith("roy"))
    assert found.verdict == "fail"


def test_the_opposite_fails() -> None:
    rows = {"recommended": acc(0.7), "random": acc(0.8), "oracle": acc(0.6), "deterministic": acc(0.9)}
    rivals = {"roy": acc(0.8), "koehler, best of 6 (0.9)": acc(0.97)}
    names = [f"Sp-CIFAR10-{share}" for share in (10, 20, 30)]
    measured = Measured(
        {"MNIST": {"deterministic": acc(0.5)}, "Sp-MNIST-10": rows | rivals},
        {"Sp-MNIST-10": 0.6, **dict(zip(names, (0.4, 0.5, 0.4), strict=True))},
        {"Sp-MNIST-10": 0.5, **dict.fromkeys(names, 0.5)},
    )
    assert verdicts(measured) == dict.fromkeys(TEXTS, "fail")


def test_a_difference_within_the_intervals_is_none() -> None:
    rows = {"recommended": acc(0.89, 0.02), "deterministic": acc(0.90, 0.02)}
    text = "Wiped (recommended) at least as the deterministic network on every Sp set, within intervals"
    assert verdicts(Measured({"Sp-MNIST-10": rows}, {}, {}))[text] == "pass"
    wide = {"recommended": acc(0.80, 0.02), "deterministic": acc(0.90, 0.02)}
    assert verdicts(Measured({"Sp-MNIST-10": wide}, {}, {}))[text] == "fail"
