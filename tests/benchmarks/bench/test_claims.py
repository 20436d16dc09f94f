"""Claims pass, fail or stay open by numbers that are made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from w2wpath.benchmarks.bench.claims import LEAD, OVER, Claim, Measured, claims
from w2wpath.benchmarks.bench.results import _judged
from w2wpath.benchmarks.study.resampling import Figure

NAN = float("nan")


def made(value: float, half: float = 0.01) -> Figure:
    return Figure(value, value - half, value + half, NAN, 100)


def acc(value: float, half: float = 0.01) -> dict[str, Figure]:
    return {"accuracy": made(value, half)}


def leads(rows: Mapping[str, Mapping[str, Figure]], half: float = 0.01) -> dict[str, dict[str, Figure]]:
    ours = rows["recommended"]["accuracy"].value
    return {row: {LEAD: made(ours - one["accuracy"].value, half)} for row, one in rows.items() if row != "recommended"}


def found(sensitivity: float, good: float = 0.02, **kinds: float) -> dict[str, Figure]:
    of_kinds = {f"excluded {kind}": made(value) for kind, value in kinds.items()}
    found_all = {"sensitivity": made(sensitivity), "excluded, all spurious": made(sensitivity)}
    return {**found_all, "false removals": made(good), **of_kinds}


def verdicts(measured: Measured) -> dict[str, str]:
    return {claim.text: claim.verdict for claim in claims(measured)}


def claim(measured: Measured, begins: str) -> Claim:
    return next(one for one in claims(measured) if one.text.startswith(begins))


TEXTS = (
    "Sp-MNIST: more of the spurious is found in test than in training",
    "Sp-CIFAR10: more of the spurious is found in training than in test",
    "Sp-CIFAR10: the share found in training falls from 10 to 30 %",
    "roy: about as the deterministic network",
    "koehler: about as the deterministic network",
    "Wiped (recommended) at least as the deterministic network of the same settings (all) on every Sp set, "
    "within intervals",
    "Wiped (recommended) at least as the deterministic network with the paper's rate and batch on every Sp set, "
    "within intervals",
    "random at most as recommended on every Sp set, within intervals",
    "recommended at most as oracle on every Sp set, within intervals",
    "accuracy of the deterministic network falls with noise",
    "Mixed-CIFAR10: blur, crop and scale are flagged in test more often than good images",
)
CIFAR = tuple(f"Sp-CIFAR10-{share}" for share in (10, 20, 30))


def test_nothing_measured_leaves_every_claim_open() -> None:
    assert verdicts(Measured()) == dict.fromkeys(TEXTS, "not measured")


def test_what_the_paper_says_passes() -> None:
    rows = {row: acc(one) for row, one in (("recommended", 0.9), ("random", 0.8), ("oracle", 0.95))}
    rows |= {"deterministic": acc(0.85), "all": acc(0.86)}
    rivals = {"roy": acc(0.861), "koehler, best of 6": acc(0.856)}
    measured = Measured(
        {"MNIST": {"all": acc(0.95)}, "Sp-MNIST-10": rows | rivals},
        {"Sp-MNIST-10": leads(rows)},
        {"Sp-MNIST-10": found(0.5), **{name: found(one) for name, one in zip(CIFAR, (0.6, 0.5, 0.4), strict=True)}},
        {
            "Sp-MNIST-10": found(0.6),
            **{name: found(0.3) for name in CIFAR},
            "Mixed-CIFAR10-10": found(0.5, blur=0.3, crop=0.4, scale=0.5),
        },
    )
    assert verdicts(measured) == dict.fromkeys(TEXTS, "pass")
    assert claim(measured, "Sp-MNIST").numbers == "Sp-MNIST-10 training 0.500, test 0.600"
    assert claim(measured, "random").numbers == "Sp-MNIST-10 0.900 / 0.800, lead 0.100 [0.090, 0.110]"


def test_the_opposite_fails() -> None:
    rows = {row: acc(one) for row, one in (("recommended", 0.7), ("random", 0.8), ("oracle", 0.6))}
    rows |= {"deterministic": acc(0.9), "all": acc(0.85)}
    rivals = {"roy": acc(0.8), "koehler, best of 6": acc(0.97)}
    measured = Measured(
        {"MNIST": {"all": acc(0.5)}, "Sp-MNIST-10": rows | rivals},
        {"Sp-MNIST-10": leads(rows)},
        {"Sp-MNIST-10": found(0.6), **{name: found(one) for name, one in zip(CIFAR, (0.4, 0.5, 0.4), strict=True)}},
        {
            "Sp-MNIST-10": found(0.5),
            **{name: found(0.5) for name in CIFAR},
            "Mixed-CIFAR10-10": found(0.5, blur=0.02, crop=0.4, scale=0.5),
        },
    )
    assert verdicts(measured) == dict.fromkeys(TEXTS, "fail")


def test_more_must_be_more_than_chance_and_at_least_may_be_less_by_chance() -> None:
    near = Measured({}, {}, {"Sp-MNIST-10": found(0.900)}, {"Sp-MNIST-10": found(0.905)})
    assert claim(near, "Sp-MNIST").verdict == "fail"
    rows = {"recommended": acc(0.89), "all": acc(0.90)}
    text = "Wiped (recommended) at least as the deterministic network of the same"
    within = Measured({"Sp-MNIST-10": rows}, {"Sp-MNIST-10": leads(rows, 0.02)}, {}, {})
    assert claim(within, text).verdict == "pass"
    beyond = Measured({"Sp-MNIST-10": rows}, {"Sp-MNIST-10": leads(rows, 0.005)}, {}, {})
    assert claim(beyond, text).verdict == "fail"
    flat = Measured({"MNIST": {"all": acc(0.9)}, "Sp-MNIST-30": {"all": acc(0.895)}}, {}, {}, {})
    assert claim(flat, "accuracy of the deterministic").verdict == "fail"


def test_where_nothing_was_removed_nothing_is_shown() -> None:
    same = {row: acc(0.5) for row in ("recommended", "random", "oracle", "all", "deterministic")}
    measured = Measured(
        dict.fromkeys(CIFAR, same),
        {name: leads(same) for name in CIFAR},
        {name: found(0.0, 0.0) for name in CIFAR},
        {**{name: found(0.0, 0.0) for name in CIFAR}, "Mixed-CIFAR10-10": found(0.0, 0.0, blur=0.0)},
        {name: found(0.0, 0.0) for name in CIFAR},
    )
    by_text = {one.text: one for one in claims(measured)}
    for text in (*TEXTS[1:3], *TEXTS[5:9], TEXTS[10]):
        assert by_text[text].verdict == "not measured"
        assert "nothing removed" in by_text[text].numbers


def test_our_row_is_judged_by_what_it_removed_itself() -> None:
    rows = {"recommended": acc(0.7), "random": acc(0.8)}
    text = "random at most as recommended"
    papers = {"Sp-MNIST-30": found(0.0, 0.0)}
    ours = Measured({"Sp-MNIST-30": rows}, {"Sp-MNIST-30": leads(rows)}, papers, papers, {"Sp-MNIST-30": found(0.2)})
    assert claim(ours, text).verdict == "fail"
    neither = replace(ours, training={"Sp-MNIST-30": found(0.2)}, ours=papers)
    assert claim(neither, text).verdict == "not measured"


def test_whose_removal_is_judged_is_said() -> None:
    figures = {"Sp-MNIST-10": found(0.5)}
    one = claim(Measured(training=figures, unseen={"Sp-MNIST-10": found(0.6)}, judged={"Sp-MNIST-10": "paper"}), "Sp-M")
    assert one.numbers == "Sp-MNIST-10 (paper) training 0.500, test 0.600"


def test_the_papers_claims_are_held_against_ours_where_its_own_row_removed_nothing() -> None:
    ours, papers, idle = (
        {"training": found(a, b), "test": found(a, b)} for a, b in ((0.5, 0.02), (0.4, 0.01), (0.0, 0.0))
    )
    assert _judged({"recommended": ours, "paper": papers}) == ("paper", "paper")
    assert _judged({"recommended": ours, "paper": idle}) == ("recommended", "recommended, paper removed nothing")
    assert _judged({"recommended": idle, "paper": idle}) == ("paper", "paper")
    assert _judged({"paper": idle}) == ("paper", "paper")
    assert _judged({"recommended": idle}) == ("recommended", "recommended")


def test_accuracies_are_compared_on_the_same_images_where_they_can_be() -> None:
    rows = {"all": acc(0.900, 0.02), "roy": acc(0.910, 0.02)}
    apart = Measured({"MNIST": rows}, {"MNIST": {"roy": {OVER: made(0.010, 0.005)}}})
    assert (claim(Measured({"MNIST": rows}), "roy").verdict, claim(apart, "roy").verdict) == ("pass", "fail")
    assert claim(apart, "roy").numbers == "MNIST 0.910, lead over all 0.010 [0.005, 0.015]"
    sets = {"MNIST": {"all": acc(0.900, 0.02)}, "Sp-MNIST-30": {"all": acc(0.880, 0.02)}}
    falls = "accuracy of the deterministic"
    assert claim(Measured(sets), falls).verdict == "fail"
    paired = claim(Measured(sets, fall={"MNIST": made(0.020, 0.01)}), falls)
    assert (paired.verdict, paired.numbers) == ("pass", "MNIST 0.900, 0.880, by 0.020 [0.010, 0.030]")


def test_a_set_without_our_row_leaves_the_ranking_open() -> None:
    rows = {"all": acc(0.9), "random": acc(0.9), "oracle": acc(0.92)}
    measured = Measured(
        {"Sp-MNIST-10": rows}, {"Sp-MNIST-10": {"random": {OVER: made(0.0)}, "oracle": {OVER: made(0.02)}}}
    )
    for begins in ("Wiped", "random at most", "recommended at most"):
        assert (claim(measured, begins).verdict, claim(measured, begins).numbers) == ("not measured", "")


def test_rivals_and_the_fall_are_held_against_the_network_of_their_own_settings() -> None:
    rows = {"all": acc(0.95), "deterministic": acc(0.8), "roy": acc(0.951)}
    one = claim(Measured({"MNIST": rows}, {}, {}, {}), "roy")
    assert (one.verdict, one.numbers) == ("pass", "MNIST 0.951 / 0.950")
    alone = {"all": acc(0.8), "deterministic": acc(0.95), "roy": acc(0.951)}
    assert claim(Measured({"MNIST": alone}, {}, {}, {}), "roy").verdict == "fail"
    steep = {"MNIST": {"deterministic": acc(0.9)}, "Sp-MNIST-30": {"deterministic": acc(0.7)}}
    assert claim(Measured(steep, {}, {}, {}), "accuracy of the deterministic").verdict == "pass"
