"""Training and measuring the nets that paint."""

from __future__ import annotations

from time import process_time

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute import train as training
from pellucid.compute.progress import track
from pellucid.compute.train import seeded
from pellucid.testbed import nets
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.nets import VAE, Critic, Generator
from pellucid.testbed.nets.generators import CHANCE
from pellucid.testbed.palette import BIRD_PARTS, PART_IDS
from pellucid.testbed.scene import scenes
from pellucid.testbed.train import classifiers
from pellucid.testbed.train.classifiers import answers, share
from pellucid.testbed.train.pictures import Order, coins, mirrored, planes
from pellucid.testbed.train.plans import PLANS, SHORT_PLANS, Job
from pellucid.values import Seed

WEIGHT_OF_BIRD, WEIGHT_OF_CAUSE = 2.0, 10.0  # of a pixel's error, where the background's is 1
CAUSES = ("wing", "tail", "crest")
NARROWNESS = 0.001  # weight of the divergence from standard normal, per latent number
STEEPNESS, STEEPNESS_EVERY = 5.0, 8  # weight of the critic's squared gradient, and how often it is taken
HINT = 0.5  # weight of the species that a teacher reads in the generator's pictures
TEACHERS = (101, 102, 103)  # seeds of nets like `cnn`, which judges in the end and takes no part; `vit` is another
SHAKEN, NOISED = 4, 0.03  # pixels that a picture is moved by and the noise it gets, lest teachers be fooled not taught
MEMORY = 0.999  # of the running mean of the generator's weights


def fit_vae(job: Job) -> training.Course:
    """Absolute error, birds weighing more than land, and divergence of the latent numbers, which sets in slowly."""
    assert isinstance(job.net, VAE)
    net = job.net
    drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
    pictures, weights = planes(drawn), torch.from_numpy(_weights(drawn.parts))
    order = Order(len(pictures), job.plan.recipe.batch, job.seed)
    net.to(memory_format=job.plan.layout)

    def objective(step: int) -> Tensor:
        chosen = order(step)
        where = coins(len(chosen), job.seed, step)
        wanted = mirrored(pictures[chosen].float() / 255, where).contiguous(memory_format=job.plan.layout)
        weight = mirrored(weights[chosen][:, None].float(), where)
        mean, log_variance = (half.float() for half in net.encode(wanted))
        chance = torch.randn(mean.shape, generator=Seed(job.seed).child("latent", step).generator())
        painted = net.decode(mean + (log_variance / 2).exp() * chance).float()
        error = ((painted - wanted).abs() * weight).sum() / (3 * weight.sum())
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).mean() / 2
        return error + NARROWNESS * min(1.0, step / (0.3 * job.plan.recipe.steps)) * divergence

    return training.descend(net, objective, job.plan.recipe, **job.manner)


def _weights(parts: UInt8[np.ndarray, "scene h w"]) -> UInt8[np.ndarray, "scene h w"]:
    """How much the error of each pixel counts."""
    table = np.ones(256, dtype=np.uint8)
    table[[PART_IDS[part] for part in BIRD_PARTS]] = WEIGHT_OF_BIRD
    table[[PART_IDS[part] for part in CAUSES]] = WEIGHT_OF_CAUSE
    return table[parts]


def measure_vae(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """What `cnn` still reads right in the pictures that come back, and how far they are off (mean absolute error)."""
    assert isinstance(net, VAE)
    drawn = scenes(seed, count, **PLANS[name].settings)
    judge, pictures = nets.load("cnn")[0], drawn.tensor()
    with torch.no_grad(), training.one_thread():
        painted = torch.cat([net(batch) for batch in pictures.split(250)])
    said, true = answers(judge, painted), torch.from_numpy(drawn.labels)
    read = {"wing": said // 4 == true // 4, "tail": said // 2 % 2 == true // 2 % 2, "crest": said % 2 == true % 2}
    figures = {f"{part}_read": share(right) for part, right in read.items()}
    return {**figures, "species_read": share(said == true), "error": round(float((painted - pictures).abs().mean()), 4)}


def begin_with(net: Generator, vae: VAE) -> None:
    """A generator that paints as an autoencoder does from its 8 x 8 grid on."""
    net.painter.load_state_dict(vae.painter.state_dict())


def fit_gan(job: Job) -> training.Course:
    """Hinge loss with a critic that is told the species (Miyato and Koyama 2018), its gradient held down on rendered
    pictures (Mescheder et al. 2018), and a hint what species teachers see, who are trained first and asked in turn. The
    generator that is kept is the running mean.
    """
    assert isinstance(job.net, Generator)
    with seeded(job.seed):
        critic = Critic(len(SPECIES))
    both = nn.ModuleDict({"generator": nets.build(job.name), "critic": critic, "kept": job.net})
    generator = both["generator"]
    generator.load_state_dict(job.net.state_dict())
    job.net.requires_grad_(False)
    game = _Game(job, generator, critic)
    recipe, losses, before = job.plan.recipe, list[float](), 0.0
    optimiser = torch.optim.Adam(
        [{"params": list(generator.parameters())}, {"params": list(critic.parameters())}],
        lr=recipe.learning_rate, betas=(0.0, 0.99), foreach=True,
    )  # fmt: skip
    if job.checkpoint is not None and job.checkpoint.exists():
        seen = training.resumed(job.checkpoint, both, optimiser)
        losses, before = list(seen["losses"]), float(seen["seconds"])
    begun, first = process_time(), len(losses)
    both.train()
    with training.one_thread():
        for step in track(range(first, recipe.steps), total=recipe.steps - first, label=str(job.manner["label"])):
            for group, factor in zip(optimiser.param_groups, (1.0, 2.0), strict=True):
                group["lr"] = factor * recipe.rate(step)
            for turn in (game.critic_loss, game.generator_loss):
                optimiser.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=job.plan.quick and training.has_bfloat16()):
                    value = turn(step)
                value.backward()
                if turn == game.generator_loss:
                    critic.zero_grad(set_to_none=True)
                optimiser.step()
            losses.append(value.item())
            _remember(job.net, generator)
            if job.checkpoint is not None and len(losses) % training.CHECKPOINT_STEPS == 0:
                spent = before + process_time() - begun
                training.keep(job.checkpoint, both, optimiser, losses=losses, seconds=spent)
    job.net.requires_grad_(True).eval()
    if job.checkpoint is not None:
        job.checkpoint.unlink(missing_ok=True)
    return training.Course(tuple(losses), before + process_time() - begun)


class _Game:
    """What critic and generator are asked to do at each step."""

    def __init__(self, job: Job, generator: nn.Module, critic: nn.Module) -> None:
        drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
        self.pictures, self.labels = planes(drawn), torch.from_numpy(drawn.labels)
        self.order = Order(len(self.pictures), job.plan.recipe.batch, job.seed)
        self.seed, self.generator, self.critic = job.seed, generator, critic
        teachers = [_taught(job, seed) for seed in TEACHERS] + [nets.load("vit")[0]]
        self.teachers = [one.requires_grad_(False).to(memory_format=job.plan.layout) for one in teachers]

    def critic_loss(self, step: int) -> Tensor:
        chosen = self.order(step)
        real = mirrored(self.pictures[chosen].float() / 255, coins(len(chosen), self.seed, step))
        labels, held = self.labels[chosen], step % STEEPNESS_EVERY == 0
        with torch.no_grad():
            painted = self.generator(self._chance("critic", step, len(chosen)), labels)
        real.requires_grad_(held)
        judged = self.critic(real, labels).float()
        loss = (1 - judged).relu().mean() + (1 + self.critic(painted, labels).float()).relu().mean()
        if not held:
            return loss
        (slope,) = torch.autograd.grad(judged.sum(), real, create_graph=True)
        return loss + STEEPNESS / 2 * STEEPNESS_EVERY * slope.square().sum(dim=(1, 2, 3)).mean()

    def generator_loss(self, step: int) -> Tensor:
        labels = self.labels[self.order(step)]
        painted = self.generator(self._chance("generator", step, len(labels)), labels)
        seen = self.teachers[step % len(self.teachers)](self._shaken(painted, step))
        named = functional.cross_entropy(seen.float(), labels)
        return -self.critic(painted, labels).float().mean() + HINT * named

    def _shaken(self, painted: Tensor, step: int) -> Tensor:
        draw = Seed(self.seed).child("shaken", step).generator()
        down, across = torch.randint(-SHAKEN, SHAKEN + 1, (2,), generator=draw).tolist()
        moved = painted.roll((down, across), dims=(2, 3))
        return moved + NOISED * torch.randn(painted.shape, generator=draw)

    def _chance(self, whose: str, step: int, count: int) -> Float[Tensor, "batch dim"]:
        return torch.randn(count, CHANCE, generator=Seed(self.seed).child(whose, step).generator())


def _taught(job: Job, seed: int) -> nn.Module:
    """A net like `cnn` from another seed; no longer in school than the generator that it is to teach."""
    with seeded(seed):
        net = nets.build("cnn")
    plan = SHORT_PLANS["cnn"]
    plan = plan.changed(min(plan.recipe.steps, job.plan.recipe.steps), min(plan.pool, job.plan.pool))
    classifiers.fit(Job("cnn", net, plan, seed))
    return net.eval()


@torch.no_grad()
def _remember(kept: nn.Module, now: nn.Module) -> None:
    """Move the running mean a little towards the present weights."""
    for old, new in zip(kept.state_dict().values(), now.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - MEMORY)
        else:
            old.copy_(new)


def measure_gan(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """How often `cnn` names the species that was asked for, and how much the pictures differ among themselves: the
    mean difference of two of them, over that of two rendered ones.
    """
    assert isinstance(net, Generator)
    drawn = scenes(seed, count, **PLANS[name].settings)
    labels = torch.from_numpy(drawn.labels)
    with torch.no_grad(), training.one_thread():
        painted = net.generate(count, labels, seed)
    agreeing = answers(nets.load("cnn")[0], painted) == labels
    return {"species_agree": share(agreeing), "variety": round(_variety(painted) / _variety(drawn.tensor()), 4)}


def _variety(pictures: Float[Tensor, "picture 3 h w"]) -> float:
    return float((pictures - pictures.roll(1, dims=0)).abs().mean())
