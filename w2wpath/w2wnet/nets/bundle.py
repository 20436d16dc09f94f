"""A trained model on disk: Wise and Wiped as safetensors, everything else in ``model.json``."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from w2wpath.errors import ConfigError, ModelError, did_you_mean, writing
from w2wpath.provenance import write_whole
from w2wpath.w2wnet.domain import DomainReference
from w2wpath.w2wnet.nets.adaptive import Draws, adaptive_draws, fixed_draws
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.card import KERNEL, SCHEMA, Card, card_text, read_card
from w2wpath.w2wnet.nets.data import Batches, Normalisation
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.mcdropout import inject
from w2wpath.w2wnet.nets.readme import model_facts
from w2wpath.w2wnet.nets.stability import restained
from w2wpath.w2wnet.quality import Reference

NETS = ("wise", "wiped")
MAX_HEADER_BYTES = 4 << 20
"""Names and shapes of the tensors of a safetensors file; a network of a thousand layers needs a tenth."""


class Model:
    """Wise and Wiped, ready to read tiles."""

    def __init__(self, path: Path, card: Card, nets: Mapping[str, nn.Module], device: str, precision: str) -> None:
        self.path = path
        self.card = card
        recipe = card.recipe
        # `auto` keeps to the precision that the threshold was taken in
        wanted = "fp32" if precision == "auto" and recipe.precision == "fp32" else precision
        self._compute = choose_compute(device, wanted)
        self._nets = {
            name: net.to(self._compute.device).to(memory_format=self._compute.memory_format).eval()
            for name, net in nets.items()
        }
        self._masks = torch.Generator(self._compute.device)
        self._dropout = inject(
            self._nets["wise"],
            rate=recipe.dropout_rate,
            kind=recipe.dropout_kind,
            mask_batch=recipe.mask_batch,
            generator=self._masks,
            scope=recipe.dropout_scope,
            logits=recipe.dropout_logits,
        )

    @classmethod
    def load(
        cls, path: Path | str, *, device: str = "auto", precision: str = "auto", threshold: str | None = None
    ) -> Model:
        """Load a model; its checksums are checked and nothing in it is executed.

        Parameters
        ----------
        threshold
            Name of the threshold to use; None takes the model's own choice.

        Raises
        ------
        ModelError
            It is missing, damaged, edited, of another schema, its thresholds belong to other weights, draws or
            masks (K21), or it has no `threshold` of that name.
        """
        path = Path(path)
        _finish_replacement(path)
        card = read_card(path)
        if threshold is not None:
            card = _choose(path, card, threshold)
        return cls(path, card, {name: _read_net(path, name, card) for name in NETS}, device, precision)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of every probability."""
        return self.card.classes

    @property
    def tile_px(self) -> int:
        """Side in pixels of the tiles that it reads."""
        return self.card.tile_px

    @property
    def mpp(self) -> float:
        """Um per pixel of the tiles that it reads."""
        return self.card.mpp

    @property
    def threshold(self) -> float:
        """Uncertainty above which a tile is uncertain."""
        return self.card.chosen.value

    @property
    def draws(self) -> int:
        """MC passes that the threshold was taken with."""
        return self.card.recipe.draws

    @property
    def identity(self) -> str:
        """Tells models apart: a sha256 of the whole card, which holds those of the weights."""
        return hashlib.sha256(card_text(self.card).encode()).hexdigest()

    @property
    def about(self) -> Mapping[str, str]:
        """Lines for people, by name: what it was trained on, and how its threshold was set."""
        return model_facts(self.card)

    @property
    def calibrated(self) -> bool:
        """Whether a temperature was fitted to its probabilities."""
        return bool(self.card.metrics.get("calibration", {}).get("source", "none") != "none")

    @property
    def quality(self) -> Reference | None:
        """Reference of the image-quality score; None when the model has none."""
        return self.card.quality

    @property
    def domain(self) -> DomainReference | None:
        """What slides look like that it was trained on; None where it cannot tell."""
        return self.card.domain

    def predict(
        self, images: NDArray[np.uint8], *, draws: int, seed: int, around: float | None = None
    ) -> tuple[NDArray[np.float32], Draws]:
        """Read tiles (n, tile_px, tile_px, 3) uint8 RGB.

        Parameters
        ----------
        draws
            MC passes of each tile.
        seed
            Fixes the masks: the same tiles with the same seed give the same answer, and pass t has the same masks
            whatever `draws` is.
        around
            A threshold: a tile's passes end, after `draws` at the latest, when it is clear on which side of it the
            tile lies. None gives every tile exactly `draws`.

        Returns
        -------
        tuple
            Wiped's probabilities (n, k) at the model's temperature, and what Wise's passes say.
        """
        n, k = len(images), len(self.classes)
        probs = self._said("wiped", self._batch("wiped", images), self.card.temperature)
        batch = self._batch("wise", images)

        def draw(rows: NDArray[np.intp], t: int) -> NDArray[np.float32]:
            self._masks.manual_seed(_seed_of_pass(seed, t))
            chosen = batch if len(rows) == n else batch[torch.from_numpy(rows).to(batch.device)]
            with self._dropout.on():
                return self._said("wise", chosen.contiguous(memory_format=self._compute.memory_format))

        if around is None:
            return probs, fixed_draws(draw, n, k, draws=draws)
        return probs, adaptive_draws(draw, n, k, threshold=around, draws=draws)

    def hinges_on_stain(self, images: NDArray[np.uint8], classes_n: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which tiles (n, tile_px, tile_px, 3) get another class than `classes_n` (n,) where stained otherwise.

        See :mod:`w2wpath.w2wnet.nets.stability`; `classes_n` is what :meth:`predict` makes most probable.
        """
        hinges = np.zeros(len(images), dtype=np.bool_)
        if len(images):
            for changed in restained(torch.from_numpy(images).to(self._compute.device)):
                said = self._said("wiped", self._batch("wiped", changed.cpu().numpy()), self.card.temperature)
                hinges |= said.argmax(axis=1) != classes_n
        return hinges

    def _batch(self, name: str, images: NDArray[np.uint8]) -> Tensor:
        normalisation = Normalisation(self.card.mean[name], self.card.std[name])  # type: ignore[index]
        return Batches(images, normalisation, self._compute)(np.arange(len(images)))

    @torch.inference_mode()
    def _said(self, name: str, batch: Tensor, temperature: float = 1.0) -> NDArray[np.float32]:
        with self._compute.autocast():
            logits = self._nets[name](batch)
        said: NDArray[np.float32] = (logits.float() / temperature).softmax(dim=1).cpu().numpy()
        return said


def _seed_of_pass(seed: int, t: int) -> int:
    """Mix `seed` and pass `t` so that no two pairs share a stream, as seed + t would."""
    return int(np.random.SeedSequence([seed, t]).generate_state(1, np.uint64)[0] >> 1)


def save_model(
    path: Path,
    nets: Mapping[str, nn.Module],
    facts: Mapping[str, Any],
    recipe: Mapping[str, Any],
    thresholds: Mapping[str, float],
    readme: Callable[[Card], str] | None = None,
) -> Card:
    """Write a model whole: into a scratch folder beside `path`, then by rename. A model that was there is replaced.

    Parameters
    ----------
    nets
        The modules ``wise`` and ``wiped``.
    facts
        Every field of :class:`Card` but schema, hashes, recipe and thresholds; ``threshold`` names the one to use.
    recipe
        Every field of :class:`Recipe` but the hash of Wise and the kernel, which are filled in here.
    thresholds
        Thresholds on u by name, one of :data:`~w2wpath.w2wnet.nets.card.THRESHOLDS`, all taken with `nets` and
        `recipe`.
    readme
        Makes the text of ``README.md``, which is for people: loading does not read it.

    Returns
    -------
    Card
        As it is read again. Numbers of metrics and provenance that are not finite have become None.

    Raises
    ------
    ModelError
        Something other than a model is at `path`.
    ValueError
        The facts make no card.
    """
    if path.exists() and not (path / "model.json").is_file() and any(path.iterdir()):
        raise ModelError(f"{path}: is not a model and not empty; it is left as it is. Choose another folder with -o.")
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with writing(path):
        try:
            scratch.mkdir(parents=True)
            for name in NETS:
                weights = {key: value.detach().cpu().contiguous() for key, value in nets[name].state_dict().items()}
                save_file(weights, scratch / f"{name}.safetensors")
            hashes = {name: _sha256_of(scratch / f"{name}.safetensors") for name in NETS}
            whole = {**recipe, "wise_sha256": hashes["wise"], "kernel": KERNEL}
            named = {name: {"value": value, "recipe": whole} for name, value in thresholds.items()}
            made = Card(**{**facts, "schema": SCHEMA, "recipe": whole, "thresholds": named, "sha256": hashes})
            write_whole(scratch / "model.json", card_text(made))
            card = read_card(scratch)
            if readme is not None:
                write_whole(scratch / "README.md", readme(card))
            _replace(scratch, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return card


def _choose(path: Path, card: Card, threshold: str) -> Card:
    if threshold not in card.thresholds:
        known = list(card.thresholds)
        hint = did_you_mean(threshold, known)
        raise ModelError(f"{path}: has no threshold {threshold!r}, but {', '.join(known)}.{hint}")
    return card.model_copy(update={"threshold": threshold})


def _replace(fresh: Path, final: Path) -> None:
    aside = final.with_name(f".{final.name}.{uuid.uuid4().hex}.replaced")
    if final.exists():
        final.rename(aside)
    try:
        fresh.rename(final)
    except OSError:
        if aside.exists():
            aside.rename(final)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _finish_replacement(path: Path) -> None:
    """Bring back the model that a killed run had moved aside and not yet replaced."""
    for aside in sorted(path.parent.glob(f".{path.name}.*.replaced")):
        if not path.exists():
            aside.rename(path)


def _read_net(path: Path, name: str, card: Card) -> nn.Module:
    file = path / f"{name}.safetensors"
    if not file.is_file():
        raise ModelError(f"{file}: is missing. Copy the model again, or train it again.")
    try:
        net = build(card.backbone, len(card.classes), card.tile_px, stem=card.stem)
    except ConfigError as error:
        raise ModelError(
            f"{path}: its network cannot be made here ({error}). "
            "Install the timm that it was trained with (`provenance` in model.json), or train it again."
        ) from error
    # the very bytes that are hashed are loaded: a file changed in between is never read
    data = _bounded(file, sum(value.nbytes for value in net.state_dict().values()) + MAX_HEADER_BYTES)
    if data is None or hashlib.sha256(data).hexdigest() != card.sha256[name]:  # type: ignore[index]
        raise ModelError(
            f"{file}: is not the file that the model was saved with. Copy the model again, or train it again."
        )
    try:
        net.load_state_dict(tensors_of(data))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{file}: does not fit {card.backbone} with {len(card.classes)} classes. Train the model again."
        ) from error
    return net


def _bounded(file: Path, limit: int) -> bytes | None:
    """Return what `file` holds, or None if that is more than `limit` bytes."""
    with file.open("rb") as opened:
        data = opened.read(limit + 1)
    return data if len(data) <= limit else None


def tensors_of(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file's bytes.

    Raises
    ------
    ValueError
        It is cut short, or its header is larger than any network needs.
    SafetensorError
        It is not a safetensors file.
    """
    header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header > min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"its header would have {header} bytes, and it has {len(data)} in all")
    return load(data)


def _sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
