"""What torch.export does not follow by itself: .data, changes in place, flags, gradient modes."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from r2b.frontend.capture import capture
from r2b.frontend.copies import evaluate_module, twin_of
from r2b.frontend.importer import import_module
from r2b.ir import ops
from r2b.ir.errors import UnsupportedOpError, UserError
from r2b.ir.passes.canonicalize import DEFAULT_PASSES, canonicalize
from r2b.ir.passes.infrastructure import Pipeline

_VECTORS = torch.randn((3, 6), generator=torch.Generator().manual_seed(1))


def _binarize(tensor):
    return tensor.sign()


class _ClassicLinear(nn.Linear):
    """The code that most of the early binary networks share."""

    def forward(self, input):
        input.data = _binarize(input.data)
        if not hasattr(self.weight, "org"):
            self.weight.org = self.weight.data.clone()
        self.weight.data = _binarize(self.weight.org)
        out = functional.linear(input, self.weight)
        if self.bias is not None:
            self.bias.org = self.bias.data.clone()
            out += self.bias.view(1, -1).expand_as(out)
        return out


class _ClassicNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = _ClassicLinear(6, 5)
        self.norm = nn.BatchNorm1d(5)
        self.second = _ClassicLinear(5, 4)

    def forward(self, x):
        return self.second(functional.hardtanh(self.norm(self.first(x)) - 0.25))


class _Apply(nn.Module):
    """A module from a function, with a weight, flags and a state."""

    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.register_buffer("flag", torch.tensor(True))
        self.register_buffer("temperature", torch.tensor(3.0))
        self.register_buffer("count", torch.tensor(0))
        self.plain = torch.randn(4)
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        return self.function(self, x)


def _same(module: nn.Module, frames: torch.Tensor = _VECTORS) -> None:
    """Import, with its own comparisons, and compare the capture with other frames."""
    import_module(module, frames)
    other = torch.randn((5, *frames.shape[1:]), generator=torch.Generator().manual_seed(9))
    found = capture(module, frames).run(other)["output"]
    expected = evaluate_module(twin_of(module), other)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _assert_unchanged(module: nn.Module, before: dict[str, torch.Tensor]) -> None:
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


# ---------------------------------------------------------------------------- .data, in place


def test_the_classic_code_is_followed_and_leaves_the_module_as_it_was():
    module = _ClassicNetwork().train()
    before = _state(module)
    _same(module)
    _assert_unchanged(module, before)
    assert module.training
    assert not vars(module.first.weight)


def test_the_classic_code_gives_binary_layers():
    graph = canonicalize(import_module(_ClassicNetwork(), _VECTORS))
    assert sum(isinstance(node.op, ops.BinaryLinear) for node in graph.nodes()) == 2


def test_real_weights_that_a_run_has_put_aside_are_the_ones_captured():
    """After a run `weight` holds signs, `weight.org` the real ones; both must be copied."""
    module = _ClassicNetwork()
    module.first.weight.org = torch.randn(5, 6)
    expected = evaluate_module(copy.deepcopy(module), _VECTORS)[0]
    found = capture(module, _VECTORS).run(_VECTORS)["output"][0]
    assert not torch.equal(expected, found)  # what deepcopy alone loses
    torch.testing.assert_close(found, evaluate_module(twin_of(module), _VECTORS)[0])


def _assign_data(m, x):
    m.weight.data = m.weight.data.sign()
    return functional.linear(x, m.weight)


def _assign_and_restore(m, x):
    real = m.weight.data.clone()
    m.weight.data = real.sign()
    result = functional.linear(x, m.weight)
    m.weight.data = real
    return result + functional.linear(x, m.weight)


def _copy_into_data(m, x):
    m.weight.data.copy_(m.weight.data.sign() * 0.5)
    return functional.linear(x, m.weight.sign())


def _clamp_data(m, x):
    m.weight.data.clamp_(-0.5, 0.5)
    return functional.linear(x, m.weight)


def _copy_without_gradient(m, x):
    with torch.no_grad():
        m.weight.copy_(m.weight.sign())
    return functional.linear(x, m.weight)


def _sign_in_place(m, x):
    y = m.linear(x)
    y.sign_()
    return y * 2


def _add_to_data(m, x):
    y = m.linear(x)
    y.data.add_(1)
    return y.relu()


def _change_a_part(m, x):
    y = m.linear(x)
    z = y.data
    z[:, 1:2].mul_(3)
    m.weight.data[0].fill_(0.25)
    return y + z + functional.linear(x, m.weight)


def _assign_twice(m, x):
    a = m.linear(x)
    kept = a.data
    a.data = a.data + 1
    a.data = a.data * 2
    return kept + a


def _keep_in_the_module(m, x):
    m.alpha = m.weight.abs().mean(1)
    m.plain = m.weight.sum(1)
    return m.linear(x) * m.alpha + m.plain


def _list_of_weights(m, x):
    m.weight.data = m.weight.data.sign()
    return functional.linear(x, torch.cat([m.weight, m.weight]))


@pytest.mark.parametrize(
    "function",
    [
        _assign_data,
        _assign_and_restore,
        _copy_into_data,
        _clamp_data,
        _copy_without_gradient,
        _sign_in_place,
        _add_to_data,
        _assign_twice,
        _keep_in_the_module,
        _list_of_weights,
    ],
)
def test_changes_are_followed(function):
    module = _Apply(function)
    before = _state(module)
    names = set(vars(module))
    _same(module)
    _assert_unchanged(module, before)
    assert set(vars(module)) == names


def test_a_change_of_a_part_is_followed():
    found = capture(_Apply(_change_a_part), _VECTORS).run(_VECTORS)["output"][0]
    torch.testing.assert_close(found, evaluate_module(_Apply(_change_a_part), _VECTORS)[0])


def _drift(m, x):
    m.weight.data.mul_(0.9)
    return functional.linear(x, m.weight)


def _count(m, x):
    m.count += 1
    return m.linear(x) * m.count


def _forgets(m, x):
    m.temperature = 0.5 * m.temperature
    return m.linear(x) * m.temperature


@pytest.mark.parametrize(
    ("function", "name"), [(_drift, "weight"), (_count, "count"), (_forgets, "temperature")]
)
def test_a_network_that_differs_on_every_run_is_refused(function, name):
    module = _Apply(function)
    before = _state(module)
    with pytest.raises(UnsupportedOpError, match=rf"^the model changes {name} while it runs"):
        import_module(module, _VECTORS)
    _assert_unchanged(module, before)


# ------------------------------------------------------------------------ flags, temperatures


def _flag(m, x):
    return m.linear(x).sign() if m.flag else m.linear(x)


def _temperature(m, x):
    return torch.tanh(m.linear(x) * float(m.temperature))


def _item(m, x):
    return m.linear(x) * m.temperature.item() + int(m.count)


def _any(m, x):
    if torch.any(m.weight > 100) or (m.plain > 100).any():
        return m.linear(x)
    return m.linear(x).relu()


def _compare(m, x):
    return m.linear(x) if m.temperature * 2 + m.plain.abs().sum() > 6 else x


def _listed(m, x):
    return sum(value * m.linear(x) for value in m.plain.tolist())


def _masked(m, x):
    return m.linear(x) * m.weight[m.weight > 0].mean()


def _numpy(m, x):
    import numpy as np

    return m.linear(x) * float(np.abs(m.weight.detach().numpy()).mean())


def _created(m, x):
    limit = torch.tensor([0.25, 0.5])
    return m.linear(x).clamp(max=limit[1].item()) if limit.max() < 1 else x


def _changed_flag(m, x):
    state = torch.zeros(2)
    state[0] = 1
    state.add_(m.temperature)
    return m.linear(x) if state[0] == 4 else x


@pytest.mark.parametrize(
    "function",
    [
        _flag,
        _temperature,
        _item,
        _any,
        _compare,
        _listed,
        _masked,
        _numpy,
        _created,
        _changed_flag,
    ],
)
def test_values_of_parameters_are_read(function):
    _same(_Apply(function))


def test_a_flag_that_is_off_leaves_the_other_branch():
    module = _Apply(_flag)
    module.flag.fill_(False)
    kinds = {type(node.op) for node in import_module(module, _VECTORS).nodes()}
    assert ops.Sign not in kinds


def _state_of_frames(m, x):
    m.temperature.copy_(x.mean())
    return m.linear(x) if m.temperature > 0 else x


@pytest.mark.parametrize(
    ("function", "reads"),
    [
        (lambda m, x: x if (m.linear(x) > 0).any() else -x, "a branch on a value"),
        (lambda m, x: x * int(x.max()), "int()"),
        (_state_of_frames, "a branch on a value"),
    ],
)
def test_values_of_frames_are_not(function, reads):
    with pytest.raises(UnsupportedOpError) as raised:
        import_module(_Apply(function), _VECTORS)
    place = r"at the model \(.*test_tracing\.py:\d+\)"
    assert re.match(rf"{re.escape(reads)} that depends on the frames, {place}: ", str(raised.value))


class _Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Apply(lambda m, x: x if x.sum() > 0 else -x)

    def forward(self, x):
        return self.inner(x)


def test_a_branch_on_frames_names_the_module():
    with pytest.raises(UnsupportedOpError, match=r"at inner \(.*test_tracing\.py:\d+\)"):
        import_module(_Nested(), _VECTORS)


# ----------------------------------------------------------------- gradient modes, estimators


def _no_grad(m, x):
    with torch.no_grad():
        scale = m.weight.abs().mean(1)
    with torch.enable_grad():
        return m.linear(x) * scale


def _autocast(m, x):
    with torch.autocast("cpu", enabled=False), torch.inference_mode():
        return m.linear(x).relu()


def _checkpointed(m, x):
    return checkpoint(m.linear, x, use_reentrant=False)


class _Saving(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, low):
        ctx.save_for_backward(x)
        ctx.low = low
        return torch.where(x >= low, 1.0, -1.0)

    @staticmethod
    def backward(ctx, *grad_outputs):
        return grad_outputs[0], None


class _WithContext(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.sign()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, *grad_outputs):
        return grad_outputs[0]


class _Flagged(torch.autograd.Function):
    """Returns its own input where a parameter says so: autograd makes another object of it."""

    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, *grad_outputs):
        return grad_outputs[0]


@pytest.mark.parametrize(
    "function",
    [
        _no_grad,
        _autocast,
        _checkpointed,
        lambda m, x: _Saving.apply(m.linear(x), 0.1),
        lambda m, x: functional.linear(x, _WithContext.apply(m.weight)),
        lambda m, x: m.linear(x) if _Flagged.apply(m.temperature) > 1 else x,
    ],
)
def test_gradient_modes_and_estimators_leave_nothing_behind(function):
    _same(_Apply(function))


class _Sign(nn.Module):
    def forward(self, x):
        return x.sign() * x.abs().mean()


def _parametrized() -> nn.Module:
    layer = nn.Linear(6, 4)
    parametrize.register_parametrization(layer, "weight", _Sign())
    return layer


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        _parametrized,
        lambda: weight_norm(nn.Linear(6, 4)),
        lambda: parametrizations.weight_norm(nn.Linear(6, 4)),
        lambda: spectral_norm(nn.Linear(6, 4)),
        lambda: parametrizations.spectral_norm(nn.Linear(6, 4)),
    ],
)
def test_weights_made_from_others(make):
    torch.manual_seed(0)
    module = make()
    before = _state(module)
    _same(module)
    _assert_unchanged(module, before)
    graph = Pipeline(DEFAULT_PASSES).run(import_module(module, _VECTORS)).graph
    assert {type(node.op).__name__ for node in graph.nodes()} == {"Input", "Linear", "Output"}


def test_a_refusal_prints_nothing_and_leaves_the_module_usable(capfd):
    module = _Apply(lambda m, x: m.linear(x) if x.sum() > 0 else x)
    before = _state(module)
    with pytest.raises(UnsupportedOpError):
        import_module(module, _VECTORS)
    _assert_unchanged(module, before)
    assert type(module.weight.data) is torch.Tensor
    assert "forward" not in vars(module)
    assert capfd.readouterr() == ("", "")


class _Uncopied(nn.Module):
    def __deepcopy__(self, memo):
        raise RuntimeError("a lock")

    def forward(self, x):
        return x


def test_a_module_that_cannot_be_copied_is_refused():
    with pytest.raises(UserError, match=r"the model cannot be copied: .*RuntimeError: a lock"):
        import_module(_Uncopied(), _VECTORS)


def test_random_numbers_of_the_caller_go_on_as_they_would():
    module = _Apply(_no_grad)
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    import_module(module, _VECTORS)
    assert torch.equal(torch.rand(3), expected)


class _Numb(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        y = self.linear(x)
        return y if torch.compiler.is_exporting() else -y


def test_a_module_that_knows_it_is_exported_is_found_out():
    with pytest.raises(UserError, match=r"differs from the model by .*first at the end"):
        import_module(_Numb(), _VECTORS)
