"""A cell is taken as long as what it was made from stays the same; judged again, it says what `clean` says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.study.conftest import cells, run
from tests.w2wnet.conftest import FakeLearner, Heard, shown
from w2wpath.benchmarks.study.cells import WiseCell, Work, _write, is_made, make, read_about, read_net, read_wise
from w2wpath.benchmarks.study.judging import judged, read_again
from w2wpath.benchmarks.study.run import Study, open_study
from w2wpath.config import CleanSettings, StudySettings, TileSettings, load
from w2wpath.progress import Silent, Step
from w2wpath.w2wnet.decide import join
from w2wpath.w2wnet.fit import draw_exact, fit_wise
from w2wpath.w2wnet.quality import Reference
from w2wpath.w2wnet.quality import judge as judge_quality


def opened(folder: Path, **changes: object) -> Study:
    """The study in a folder, with other settings of [study]."""
    toml = folder / "toy.toml"
    study = load(StudySettings, "study", toml, changes)
    study = study.model_copy(update={"cohort": folder / "cohort.csv", "truth": folder / "truth.csv"})
    tiling, cleaning = load(TileSettings, "tile", toml, {}), load(CleanSettings, "clean", toml, {})
    return open_study(folder / "out", study, tiling, cleaning)


def changed(work: Work, **settings: object) -> Work:
    return dataclasses.replace(work, settings=work.settings.model_copy(update=settings))


def test_a_cell_is_bound_to_what_can_change_it(finished: Path) -> None:
    study = opened(finished)
    wise, net = study.wise_work("recommended", (0, 0)), study.net_work("all", (0, 0))
    assert is_made(wise)
    assert is_made(net)
    assert not is_made(changed(wise, label_weight=0.0))
    assert not is_made(changed(net, lr=0.2))
    assert not is_made(dataclasses.replace(net, key={**net.key, "train": "other"}))
    # what judges later, or has no use here, or computes the same elsewhere
    assert is_made(changed(wise, doubt_below=None, quality=False, threshold="centroid", loader_workers=2))
    assert is_made(changed(net, label_weight=0.0, dropout_scope="all", tracker="exact"))


def test_a_cell_that_is_there_is_not_made_again_where_a_scheduler_runs_its_task_twice(finished: Path) -> None:
    study = opened(finished)
    for work in (study.wise_work("recommended", (0, 0)), study.net_work("all", (0, 0))):
        before = work.path.read_bytes()
        assert make(work) == 0.0
        assert work.path.read_bytes() == before
        work.path.unlink()
        took = make(work)
        about = read_about(work.path)
        assert about is not None
        assert 0.0 < about["seconds"] == pytest.approx(took, abs=0.1)
        assert is_made(work)


class Interrupted(Exception):
    """As if the power had failed."""


class Interrupting(Silent):
    """A progress at whose third epoch the process ends."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Step]:
        done = 0

        def step(n: int, told: str) -> None:
            nonlocal done
            done += n
            if done == 3:
                raise Interrupted

        yield step


@pytest.mark.parametrize("same", [True, False])
def test_an_interrupted_wise_goes_on_with_the_same_pixels_and_begins_anew_with_others(
    finished: Path, same: bool
) -> None:
    work = opened(finished).wise_work("recommended", (0, 0))
    before = read_wise(work.path)
    work.path.unlink()
    with pytest.raises(Interrupted):
        make(work if same else dataclasses.replace(work, learned="of other pixels"), Interrupting())
    assert work.path.with_suffix(".checkpoint").is_file()
    heard = Heard()
    make(work, heard)
    assert (f"{work.name}: goes on after epoch 2" in heard.lines) is same
    after = read_wise(work.path)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after.test_u, before.test_u)


def test_a_network_is_known_by_the_tiles_that_it_learns_and_their_labels_in_their_order(finished: Path) -> None:
    ground = opened(finished).ground
    train = ground.sides(0)[0]
    known = ground.learned(train)
    turned = ground.table.label.copy()
    turned[train[0]] += 1
    changes: dict[str, object] = {
        "label": dataclasses.replace(ground, table=dataclasses.replace(ground.table, label=turned)).learned(train),
        "order": ground.learned(train[::-1]),
        "tiles": ground.learned(train[1:]),
        "pixels": dataclasses.replace(ground, pixels=tuple(f"{one}!" for one in ground.pixels)).learned(train),
    }
    assert len({known, *changes.values()}) == 5
    unseen = ground.table.label.copy()
    unseen[ground.sides(0)[1]] = 0
    elsewhere = dataclasses.replace(ground, table=dataclasses.replace(ground.table, label=unseen))
    assert elsewhere.learned(train) == known


def test_weights_are_known_by_what_they_hold(finished: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"first")
    work = changed(opened(finished).net_work("all", (0, 0)), weights=weights)
    before = work.settings_that_count["weights"]
    assert len(before) == 64
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(b"first")
    assert changed(work, weights=copy).settings_that_count["weights"] == before
    weights.write_bytes(b"other weights")
    assert work.settings_that_count["weights"] != before


def test_two_processes_that_write_one_cell_do_not_meet(finished: Path) -> None:
    work = opened(finished).net_work("all", (0, 0))
    arrays = {"test_probs_nk": np.zeros((4, 3), dtype=np.float32)}
    with ThreadPoolExecutor(8) as pool:
        for _ in range(30):
            list(pool.map(lambda _: _write(work.path, {"seconds": 1.0}, arrays), range(8)))
    assert read_about(work.path) == {"seconds": 1.0}
    assert sorted(path.name for path in work.path.parent.glob(".*")) == []


def test_a_setting_that_came_later_had_its_default(finished: Path) -> None:
    study = opened(finished)
    net = study.net_work("all", (0, 0))

    class Older(CleanSettings):
        grain: float = 0.5

    assert is_made(dataclasses.replace(net, settings=Older(**net.settings.model_dump())))
    assert not is_made(dataclasses.replace(net, settings=Older(**net.settings.model_dump(), grain=0.7)))


def test_what_is_no_cell_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 but not more")
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    for name in ("a.npz", "b.npz", "c.npz"):
        assert read_wise(tmp_path / name) is None
        assert read_net(tmp_path / name) is None


@pytest.mark.parametrize("quality", [True, False])
def test_judged_again_a_wise_says_what_it_said(finished: Path, quality: bool) -> None:
    ground = opened(finished).ground
    settings = CleanSettings(
        max_epochs=8, median_window=3, std_window=4, draws=5, quality=quality, second_reader="none"
    )
    train, test = ground.sides(1)
    label = ground.table.label[train]
    learner = FakeLearner(shown(ground.store, ground.table))
    wise, fit = fit_wise(learner, train, label, 3, 1, settings, Silent(), "Wise")
    unseen = draw_exact(wise, test, 3, 5, Silent(), "unseen")
    cell = WiseCell(fit.tracked_nk, fit.mean_nk, unseen.mean_nk, unseen.u_n, fit.stop, {})
    found = judged(ground, cell, 1, settings, 1, None)
    for name, value in dataclasses.asdict(fit).items():
        if name != "stop":
            np.testing.assert_allclose(getattr(found.fit, name), value, rtol=1e-12)
    assert found.fit.stop.reason == fit.stop.reason
    assert ground.features_nf is not None
    reference = Reference.learn(ground.features_nf[train], ground.table.slide[train])
    expected = judge_quality(ground.features_nf[train], ground.table.slide[train], reference) if quality else None
    np.testing.assert_allclose(found.severity_nr, join(fit, label, expected).severity_nr)
    assert found.kept_n.sum() == (join(fit, label, expected).severity_n <= 1).sum()
    assert bool(found.unseen_quality_nr.any()) is quality


def test_every_variant_hears_the_same_second_reader(finished: Path) -> None:
    study = opened(finished)
    study = dataclasses.replace(study, settings=study.settings.model_copy(update={"second_reader": "forest"}))
    cell = study.wise("recommended", (1, 0))
    assert cell is not None
    second_nk = read_again(study.ground, 1, 1)
    heard, alone = (judged(study.ground, cell, 1, study.settings, 1, nk).fit.read_nk for nk in (second_nk, None))
    assert (heard != alone).any()
    for variant, read_nk in (("recommended", heard), ("paper's quality", heard), ("paper's reader", alone)):
        np.testing.assert_array_equal(study.judged(variant, (1, 0)).fit.read_nk, read_nk)


def test_good_tiles_only_are_what_the_truth_calls_good(finished: Path) -> None:
    study = opened(finished, cohort_variant="good-only")
    truth = study.truth
    assert truth is not None
    assert study.ground.table.n == 36
    assert not truth.spurious.any()
    assert study.net_cells(0) == []
    assert not is_made(study.wise_work("recommended", (0, 0)))


def test_a_variant_of_the_cohort_is_scored_without_networks(finished: Path) -> None:
    toml = finished / "toy.toml"
    toml.write_text(toml.read_text("utf-8") + 'cohort_variant = "good-only"\n', "utf-8")
    for path in cells(finished).values():
        path.unlink()
    done = run(finished)
    assert (done.failed, done.missing) == ({}, ())
    assert set(cells(finished)) == {"wise-recommended-f0-s0", "wise-recommended-f1-s0"}
    text = (finished / "out" / "study.md").read_text("utf-8")
    assert "36 tiles of 6 patients, 2 folds of patients, seeds 0; cohort: good-only." in text
    assert "## By vote of the folds" in text
    assert "## Accuracy" not in text
