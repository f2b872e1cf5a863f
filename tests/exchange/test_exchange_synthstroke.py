"""SynthStroke's published weights become runs that predict as MONAI's network and its windows do."""

import itertools
import json
import os
import struct

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from strokelab import runs
from strokelab.cli import app
from strokelab.errors import ConfigError, DataWarning, RunError
from strokelab.exchange.synthstroke import import_synthstroke, read_published
from strokelab.inference.sliding_windows import SlidingWindows
from strokelab.preparation.normalize import equalised
from strokelab.runs.tensor_file import read_tensors

CHANNELS, STRIDES = [4, 6, 8, 8], [2, 2, 2]
CONFIG = {
    **{"spatial_dims": 3, "in_channels": 1, "out_channels": 6, "channels": CHANNELS, "strides": STRIDES},
    **{"kernel_size": 3, "up_kernel_size": 3, "num_res_units": 1, "act": "PRELU", "norm": "INSTANCE"},
    **{"dropout": 0.0, "bias": True, "adn_ordering": "NDA", "model_type": "synth"},
}


def shapes(in_channels=1, classes=6):
    """MONAI's names of the weights of such a network, with their shapes, written down."""
    found = {}

    def layer(name, after, before, transposed=False):
        ends = (before, after) if transposed else (after, before)
        found.update({f"{name}.weight": (*ends, 3, 3, 3), f"{name}.bias": (after,)})

    for level, width in enumerate(CHANNELS[:-1]):
        inside = "model." + "1.submodule." * level
        before = CHANNELS[level - 1] if level else in_channels
        for name in ("0.conv.unit0.conv", "0.residual"):
            layer(f"{inside}{name}", width, before)
        up = CHANNELS[level - 1] if level else classes
        joined = 2 * width if level < len(CHANNELS) - 2 else width + CHANNELS[-1]
        layer(f"{inside}2.0.conv", up, joined, transposed=True)
        layer(f"{inside}2.1.conv.unit0.conv", up, up)
        for name in ("0.conv.unit0", "2.0", *(["2.1.conv.unit0"] if level else [])):
            found[f"{inside}{name}.adn.A.weight"] = (1,)
    bottom = "model." + "1.submodule." * (len(CHANNELS) - 1) + "conv.unit0."
    layer(f"{bottom}conv", CHANNELS[-1], CHANNELS[-2])
    found[f"{bottom}adn.A.weight"] = (1,)
    return found


def weights(seed=0, **network):
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes(**network).items()}


def written(tensors, path, kinds=None, metadata=True):
    """A safetensors file, written here once more by the format's description."""
    header, body = {"__metadata__": {"format": "pt"}} if metadata else {}, b""
    for name, tensor in tensors.items():
        kind, raw = "F32", tensor.numpy().astype("<f4").tobytes()
        if kinds == "F16":
            kind, raw = "F16", tensor.numpy().astype("<f2").tobytes()
        if kinds == "BF16":
            kind, raw = "BF16", tensor.bfloat16().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + body)
    return path


def folder_of(tmp_path, tensors=None, **config):
    folder = tmp_path / "theirs"
    folder.mkdir(exist_ok=True)
    written(tensors if tensors is not None else weights(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A head-like volume of 1 mm, axes in RAS."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 24, 18)), indexing="ij"))
    voxels = np.where((grid**2).sum(0) < 0.8, 100 + 40 * np.sin(5 * grid).sum(0), 0) + rng.normal(0, 3, grid.shape[1:])
    path = tmp_path_factory.mktemp("scan") / "scan_T1w.nii.gz"
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.diag([1.0, 1, 1, 1])), path)
    return path


def test_a_folder_becomes_a_run_with_the_same_weights(tmp_path, scan):
    prefixed = {f"unet.{name}": tensor for name, tensor in weights().items()}
    run = import_synthstroke(folder_of(tmp_path, prefixed), tmp_path / "run")
    trained = runs.load_run(run)
    assert trained.view.any_contrast
    assert tuple(trained.view.classes) == ("background", "GM", "WM", "PV", "CSF", "lesion")
    assert (trained.model.lesion_channel, trained.view.finish) == (5, "native")
    assert trained.view.windows == SlidingWindows(divisor=8)
    state = trained.model.network.state_dict()
    own = weights()
    assert torch.equal(state["encoder.0.unit.conv.weight"], own["model.0.conv.unit0.conv.weight"])
    assert torch.equal(state["decoder.2.unit.weight"], own["model.2.1.conv.unit0.conv.weight"])
    assert len(state) == len(own)
    prediction = runs.load_run(run, windows={"patch": [16, 16, 16]}).predict(scan, classes=True)
    assert prediction.mask.shape == prediction.classes.shape[1:] == (20, 24, 18)
    grey = equalised(np.asarray(nib.load(scan).dataobj, dtype=np.float32)).astype(np.float64)
    image = torch.from_numpy((grey - grey.mean()) / grey.std()).float()[None]
    with torch.no_grad():
        expected = by_hand(trained.model.network.eval(), image, (16, 16, 16)).softmax(dim=0)
    np.testing.assert_allclose(prediction.classes, expected, atol=1e-4)
    assert np.array_equal(prediction.mask, expected.argmax(dim=0) == 5)
    assert 0 < prediction.mask.sum() < prediction.mask.size


def test_a_model_of_two_classes_and_an_older_checkpoint(tmp_path):
    tensors = weights(classes=2)
    torch.save({"net": tensors, "epoch": 3, "metric": np.float64(0.5)}, tmp_path / "checkpoint.pt")
    old = read_published(tmp_path / "checkpoint.pt")
    new = read_published(folder_of(tmp_path, tensors, out_channels=2))
    assert old.network == new.network
    assert all(torch.equal(old.weights[name], weight) for name, weight in new.weights.items())
    run = runs.load_run(import_synthstroke(tmp_path / "checkpoint.pt", tmp_path / "run"))
    assert (tuple(run.view.classes), run.model.lesion_channel) == (("background", "lesion"), 1)


def test_a_model_of_four_maps_wants_their_names(tmp_path):
    folder = folder_of(tmp_path, weights(in_channels=4), in_channels=4)
    with pytest.raises(ConfigError, match="4, as the network has channels"):
        import_synthstroke(folder, tmp_path / "run")
    with pytest.warns(DataWarning, match="equalised"):
        run = import_synthstroke(folder, tmp_path / "run", modalities=["PD", "MT", "R1", "R2s"])
    view = runs.load_run(run).view
    assert not view.any_contrast
    assert view.preparation.modalities == ("PD", "MT", "R1", "R2s")


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_half_precision_is_read(tmp_path, kind):
    tensors = weights()
    read, _ = read_tensors(written(tensors, tmp_path / "half.safetensors", kind))
    dtype = {"F16": torch.float16, "BF16": torch.bfloat16}[kind]
    assert all(torch.equal(read[name], tensor.to(dtype)) for name, tensor in tensors.items())


@pytest.mark.filterwarnings("ignore:.*equalised")
@pytest.mark.parametrize(
    "config",
    [
        *({"extra": 1}, {"kernel_size": 5}, {"act": "RELU"}, {"norm": "BATCH"}, {"bias": False}, {"num_res_units": 2}),
        *({"in_channels": 3}, {"out_channels": 5}, {"spatial_dims": 2}, {"dropout": 1}, {"adn_ordering": "ADN"}),
        *({"strides": [2, 2]}, {"channels": [4, 6, 8, 10**9]}, {"channels": "4"}, {"channels": [4, 6, 8, 9]}),
        *({"model_type": ["x"]}, {"out_channels": 2}, {"in_channels": 4}),
    ],
    ids=str,
)
def test_what_is_unknown_or_does_not_fit_is_an_error(tmp_path, config):
    names = ["a", "b", "c", "d"] if config == {"in_channels": 4} else []
    with pytest.raises(RunError):
        import_synthstroke(folder_of(tmp_path, **config), tmp_path / "run", modalities=names)
    assert not (tmp_path / "run").exists()


def broken(name):
    tensors = weights()
    first = next(iter(tensors))
    if name == "nan":
        tensors[first][0] = float("nan")
    elif name == "missing":
        del tensors[first]
    elif name == "unknown":
        tensors["model.3.weight"] = torch.ones(1)
    elif name == "twice":
        tensors["unet." + first] = tensors[first]
    return tensors


@pytest.mark.parametrize("name", ["nan", "missing", "unknown", "twice"])
def test_weights_that_are_another_models_are_refused(tmp_path, name):
    with pytest.raises(RunError):
        import_synthstroke(folder_of(tmp_path, broken(name)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def entry(first, last, shape=(2,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [first, last]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 8), "b": entry(4, 12)},  # overlap
        {"a": entry(0, 8), "b": entry(12, 20)},  # gap
        {"a": entry(0, 8)},  # numbers left over
        {"a": entry(0, 8), "b": entry(8, 400, (98,))},  # beyond the end
        {"a": entry(0, 16, (3,))},
        {"a": entry(0, 16, (-2, -2))},
        {"a": entry(0, 16, (True, 4))},
        {"a": entry(-16, 0, (4,))},
        {"a": [0, 16]},
        [],
        {},
    ],
    ids=str,
)
def test_headers_that_lie_are_refused(tmp_path, header):
    packed = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + bytes(16))
    with pytest.raises(RunError, match="safetensors"):
        read_tensors(path)


def test_files_that_are_cut_are_refused(tmp_path):
    path = written(weights(), tmp_path / "model.safetensors")
    whole = path.read_bytes()
    huge = struct.pack("<Q", 2**63) + whole[8:]
    for raw in (b"", whole[:4], whole[:100], whole[:-1], whole + b"\0", huge):
        path.write_bytes(raw)
        with pytest.raises(RunError):
            read_tensors(path)
    with pytest.raises(RunError, match="no such file"):
        read_tensors(tmp_path / "other.safetensors")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_executes_nothing(tmp_path):
    torch.save({"net": weights(), "more": Evil(tmp_path / "proof")}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match="read safely"):
        import_synthstroke(tmp_path / "checkpoint.pt", tmp_path / "run")
    assert not (tmp_path / "proof").exists()
    torch.save({"state_dict": weights()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match="net"):
        import_synthstroke(tmp_path / "checkpoint.pt", tmp_path / "run")


def test_the_command(tmp_path, scan):
    said = CliRunner().invoke(app, ["import-synthstroke", str(folder_of(tmp_path)), "--out", str(tmp_path / "run")])
    assert said.exit_code == 0, said.output
    assert "strokelab predict" in said.output


@pytest.mark.parametrize("axes", ["LPI", "SAR"])
def test_an_oblique_scan_comes_back_on_its_own_grid(tmp_path, scan, axes):
    """Anisotropic, turned by 20 degrees, axes in another order: shape, affine and codes are the input's."""
    run = import_synthstroke(folder_of(tmp_path), tmp_path / "run")
    voxels = np.asarray(nib.load(scan).dataobj)[:, :, ::3]
    turn = np.deg2rad(20)
    affine = np.diag([1.1, 1, 3.0, 1])
    affine[:3, 3] = [5, -7, 3]
    affine[:2, :2] = [[1.1 * np.cos(turn), -np.sin(turn)], [1.1 * np.sin(turn), np.cos(turn)]]
    image = nib.Nifti1Image(voxels, affine)
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    )
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nib.save(image, tmp_path / "sub-x_T1w.nii.gz")
    words = ["predict", run, tmp_path / "sub-x_T1w.nii.gz", "--out", tmp_path / "out", "--classes"]
    said = CliRunner().invoke(app, [*map(str, words), "--windows", "mirror=x", "--windows", "patch=[32,32,32]"])
    assert said.exit_code == 0, said.output
    files = {path.name.removeprefix("sub-x_"): path for path in (tmp_path / "out").rglob("*.nii.gz")}
    tissues = [f"label-{name}_probseg.nii.gz" for name in ("background", "GM", "WM", "PV", "CSF", "lesion")]
    assert set(files) == {*tissues, "dseg.nii.gz", "label-lesion_mask.nii.gz"}
    source = nib.load(tmp_path / "sub-x_T1w.nii.gz")
    for path in files.values():
        written = nib.load(path)
        assert written.shape == source.shape
        np.testing.assert_array_equal(written.affine, source.affine)
        assert [int(written.header[code]) for code in ("qform_code", "sform_code")] == [1, 1]
    maps = np.stack([nib.load(files[name]).get_fdata() for name in tissues])
    np.testing.assert_allclose(maps.sum(axis=0), 1, atol=1e-4)
    assert np.array_equal(
        nib.load(files["dseg.nii.gz"]).get_fdata() == 5, nib.load(files["label-lesion_mask.nii.gz"]).get_fdata()
    )
    (row,) = (tmp_path / "out" / "lesions.tsv").read_text().splitlines()[1:]
    assert "padded" in row
    assert "32x32x32 voxels" in row


def by_hand(predict, image, patch, sd=0.125):
    """MONAI's sliding windows and eight flips in plain words: (C, X, Y, Z) -> mean logits (K, X, Y, Z)."""
    profiles = [torch.exp(-(((torch.arange(n) - (n - 1) / 2) / (sd * n)) ** 2) / 2) for n in patch]
    weight = torch.einsum("i,j,k->ijk", *profiles).clamp(min=1e-3)
    mean = 0
    for flip in (flip for count in range(4) for flip in itertools.combinations((1, 2, 3), count)):
        turned = image.flip(flip)
        missing = [max(side - size, 0) for side, size in zip(patch, turned.shape[1:], strict=True)]
        padded = torch.nn.functional.pad(turned, [n for m in reversed(missing) for n in (m // 2, m - m // 2)])
        axes = [
            sorted({min(k * (n // 2), s - n) for k in range(s)}) for s, n in zip(padded.shape[1:], patch, strict=True)
        ]
        total, weights = torch.zeros(1), torch.zeros(padded.shape[1:])
        for start in itertools.product(*axes):
            cut = tuple(slice(a, a + n) for a, n in zip(start, patch, strict=True))
            answer = weight * predict(padded[:, *cut][None])[0]
            total = total if total.ndim == 4 else torch.zeros(len(answer), *weights.shape)
            total[:, *cut] += answer
            weights[cut] += weight
        inner = tuple(slice(m // 2, m // 2 + s) for m, s in zip(missing, turned.shape[1:], strict=True))
        mean = mean + (total / weights)[:, *inner].flip(flip) / 8
    return mean


def test_windows_start_and_weigh_as_monais_do():
    image = torch.randn(1, 13, 8, 6, generator=torch.Generator().manual_seed(0))
    place = torch.linspace(-1, 1, 8)

    def logits(x):
        """Something that depends on where in its window a voxel lies."""
        return torch.cat([x * place, -x + place[:, None], x], dim=1)

    windows = SlidingWindows((8, 8, 8), divisor=8)
    found = windows(image, lambda x, _: logits(x).softmax(dim=1), image[0] == 0)
    expected = by_hand(logits, image, (8, 8, 8))
    torch.testing.assert_close(found.softmax(dim=0), expected.softmax(dim=0), atol=1e-5, rtol=0)


def test_a_volume_that_fits_is_predicted_whole_with_its_probabilities_averaged():
    image = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = []

    def predict(x, _):
        seen.append(tuple(x.shape))
        return torch.cat([x[:, :, :1].expand_as(x), -x], dim=1).softmax(dim=1)

    found = SlidingWindows((16, 16, 16), divisor=4)(image, predict, image[0] == 0)
    assert seen == [(1, 1, 16, 8, 8)] * 8
    flips = [flip for count in range(4) for flip in itertools.combinations((1, 2, 3), count)]
    mean = sum(predict(image.flip(flip)[None], None)[0].flip(flip) for flip in flips) / 8
    torch.testing.assert_close(found.softmax(dim=0), mean, atol=1e-6, rtol=0)


@pytest.mark.parametrize("classes", [2, 6])
def test_predictions_are_those_of_monais_network_and_inferer(tmp_path, scan, classes):
    networks = pytest.importorskip("monai.networks.nets")
    inferers = pytest.importorskip("monai.inferers")
    from monai.transforms import HistogramNormalize, NormalizeIntensity

    torch.manual_seed(1)
    layers = {"num_res_units": 1, "act": "PRELU", "norm": "INSTANCE", "dropout": 0.0}
    network = networks.UNet(
        spatial_dims=3, in_channels=1, out_channels=classes, channels=CHANNELS, strides=STRIDES, **layers
    ).eval()
    folder = folder_of(tmp_path, dict(network.state_dict()), out_channels=classes)
    run = runs.load_run(import_synthstroke(folder, tmp_path / "run"), windows={"patch": [16, 16, 16]})
    voxels = np.asarray(nib.load(scan).dataobj, dtype=np.float32)
    image = NormalizeIntensity()(HistogramNormalize(num_bins=256, min=0, max=255)(voxels[None]))
    np.testing.assert_allclose(np.asarray(image)[0], (e := equalised(voxels)) / e.std() - e.mean() / e.std(), atol=1e-4)
    inferer = inferers.SlidingWindowInferer((16, 16, 16), overlap=0.5, mode="gaussian", sigma_scale=0.125)
    image, mean = torch.as_tensor(np.asarray(image))[None], 0
    with torch.no_grad():
        for flip in (flip for count in range(4) for flip in itertools.combinations((2, 3, 4), count)):
            mean = mean + inferer(image.flip(flip), network).flip(flip) / 8
    expected = mean[0].softmax(dim=0).numpy()
    prediction = run.predict(scan, classes=True)
    assert expected[-1].max() - expected[-1].min() > 0.05
    furthest = np.abs(prediction.classes - expected).max()
    assert furthest < 1e-4
