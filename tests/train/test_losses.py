"""The losses, each against the paper's formula in NumPy, frame by frame."""

import re

import numpy as np
import pytest
import torch

from r2b.train.losses import attention_loss, attention_map, label_loss, logit_loss


def maps(seed, shapes=((3, 4, 5, 6), (3, 8, 2, 3))):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def numpy_attention(student, teacher):
    """Equation 2: for each frame, the sum over the transfer points."""
    per_frame = []
    for frame in range(len(student[0])):
        total = 0.0
        for s, t in zip(student, teacher, strict=True):
            q_s, q_t = (np.sum(np.abs(a.numpy()[frame]) ** 2, axis=0) for a in (s, t))
            q_s, q_t = q_s / np.sqrt(np.sum(q_s**2)), q_t / np.sqrt(np.sum(q_t**2))
            total += np.sqrt(np.sum((q_s - q_t) ** 2))
        per_frame.append(total)
    return np.mean(per_frame)


def numpy_log_softmax(x):
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def test_attention_loss_equals_equation_2():
    student, teacher = maps(0), maps(1)
    expected = numpy_attention(student, teacher)
    assert attention_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)
    assert expected > 0.1


def test_attention_loss_takes_other_channel_counts():
    student, teacher = maps(0), maps(1, ((3, 2, 5, 6), (3, 16, 2, 3)))
    expected = numpy_attention(student, teacher)
    assert attention_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_attention_loss_of_equal_maps_is_zero_with_finite_gradients():
    student = [x.requires_grad_() for x in maps(0)]
    loss = attention_loss(student, maps(0))
    assert loss.item() == 0
    loss.backward()
    assert all(torch.isfinite(x.grad).all() for x in student)


@pytest.mark.parametrize("factor", [1e-3, 7.0, -20.0])
def test_attention_loss_does_not_depend_on_the_scale_of_a_map(factor):
    student, teacher = maps(0), maps(1)
    loss = attention_loss(student, teacher).item()
    scaled = [student[0] * factor, student[1]]
    assert attention_loss(scaled, teacher).item() == pytest.approx(loss, rel=1e-9)
    assert attention_loss(teacher, scaled).item() == pytest.approx(loss, rel=1e-9)


def test_attention_loss_scales_each_frame_alone():
    student, teacher = maps(0), maps(1)
    loss = attention_loss(student, teacher).item()
    factors = torch.tensor([1.0, 10.0, 0.1], dtype=torch.float64)[:, None, None, None]
    scaled = [x * factors for x in student]
    assert attention_loss(scaled, teacher).item() == pytest.approx(loss, rel=1e-9)


def test_attention_loss_is_the_mean_over_frames():
    student, teacher = maps(0), maps(1)
    alone = [
        attention_loss([s[i : i + 1] for s in student], [t[i : i + 1] for t in teacher]).item()
        for i in range(3)
    ]
    assert attention_loss(student, teacher).item() == pytest.approx(np.mean(alone), rel=1e-12)


def test_attention_loss_gradient():
    student, teacher = maps(0), maps(1)
    student = [x.requires_grad_() for x in student]
    assert torch.autograd.gradcheck(lambda *s: attention_loss(s, teacher), student)


def test_attention_loss_of_dead_maps_is_finite():
    student = [torch.zeros(2, 3, 4, 4, requires_grad=True)]
    loss = attention_loss(student, [torch.ones(2, 3, 4, 4)])
    loss.backward()
    # the teacher's map alone: norm 1
    assert loss.item() == pytest.approx(1)
    assert torch.isfinite(student[0].grad).all()


def test_attention_map_of_half_precision_does_not_overflow():
    wide = torch.full((1, 512, 2, 2), 300.0)
    found = attention_map(wide.half())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), 0.5, rtol=1e-6)


@pytest.mark.parametrize("loss", [attention_loss, logit_loss])
def test_the_teacher_gets_no_gradient(loss):
    student, teacher = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    if loss is attention_loss:
        loss([student], [teacher]).backward()
    else:
        loss(student.flatten(1), teacher.flatten(1)).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


BAD_PAIRS = {
    "no pairs": (
        [],
        [],
        "attention matching needs pairs of maps, not 0 of the student and 0 of the teacher",
    ),
    "lengths": (
        maps(0),
        maps(1)[:1],
        "attention matching needs pairs of maps, not 2 of the student and 1 of the teacher",
    ),
    "sizes": (
        maps(0),
        maps(1, ((3, 4, 5, 6), (3, 8, 3, 2))),
        "attention maps must agree in frames, height and width, but at transfer point 1 the "
        "student has 3 x 8 x 2 x 3 and the teacher 3 x 8 x 3 x 2",
    ),
}


@pytest.mark.parametrize(("student", "teacher", "text"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_pairs_that_do_not_fit(student, teacher, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        attention_loss(student, teacher)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_logit_loss_equals_the_divergence(temperature):
    student, teacher = maps(2, ((5, 7), (5, 7)))
    log_s, log_t = (numpy_log_softmax(x.numpy() / temperature) for x in (student, teacher))
    expected = np.mean(np.sum(np.exp(log_t) * (log_t - log_s), axis=1)) * temperature**2
    found = logit_loss(student, teacher, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_logit_loss_is_zero_for_equal_distributions_alone():
    student, teacher = maps(2, ((5, 7), (5, 7)))
    assert logit_loss(student, student + 3).item() == pytest.approx(0, abs=1e-12)
    assert logit_loss(student, teacher).item() > 0.1


def test_logit_loss_of_certain_teachers_is_finite():
    certain = torch.tensor([[1e4, 0.0, -1e4]])
    assert torch.isfinite(logit_loss(torch.zeros(1, 3), certain))


def test_logit_loss_refuses_what_does_not_fit():
    text = "logits must have one shape, not (2, 3) of the student and (2, 4) of the teacher"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        logit_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^temperature must be above 0, not 0$"):
        logit_loss(torch.zeros(2, 3), torch.zeros(2, 3), 0)


def test_label_loss_of_classes_and_of_mixed_labels():
    (logits,) = maps(3, ((4, 6),))
    log_p = numpy_log_softmax(logits.numpy())
    first, second = np.array([0, 5, 2, 2]), np.array([1, 5, 3, 0])
    rows = np.arange(4)
    found = label_loss(logits, torch.from_numpy(first)).item()
    assert found == pytest.approx(-np.mean(log_p[rows, first]), rel=1e-12)
    mixed = 0.3 * np.eye(6)[first] + 0.7 * np.eye(6)[second]
    found = label_loss(logits, torch.from_numpy(mixed)).item()
    assert found == pytest.approx(-np.mean(np.sum(mixed * log_p, axis=1)), rel=1e-12)
