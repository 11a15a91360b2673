"""Loads a checkpoint of the tiny model into a plain torch module of the same names and compares its logits.

Usage: load_checkpoint.py model.safetensors batch.safetensors

`batch.safetensors` holds the features of a batch and the `logits` and `calibrated` that the trainer computed for it in
evaluation. Ends with 0 when both agree to 1e-6, with 1 and the difference when not.
"""

import sys

import torch
from safetensors.torch import load_file
from torch import nn

TOLERANCE = 1e-6


class NonFiniteToZero(nn.Module):
    def forward(self, x):
        return torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)


class SignedLog(nn.Module):
    def forward(self, x):
        return torch.sign(x) * torch.log1p(torch.abs(x))


class Clamp(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("min_value", torch.tensor(0.0))
        self.register_buffer("max_value", torch.tensor(0.0))

    def forward(self, x):
        return torch.clamp(x, self.min_value, self.max_value)


class Named(nn.Module):
    """A module whose parameters carry one more part in their name."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class Preprocessor(nn.Module):
    def __init__(self, continuous, binary):
        super().__init__()
        self._before_concat_layers = nn.Sequential(
            NonFiniteToZero(), SignedLog(), Named(nn.BatchNorm1d(continuous)), Clamp()
        )
        self.layer_norm = Named(nn.LayerNorm(continuous + binary, eps=0.0))

    def forward(self, continuous, binary):
        dense = torch.cat([self._before_concat_layers(continuous), binary], dim=1)
        return self.layer_norm(dense)


class Mlp(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class MaskBlock(nn.Module):
    def __init__(self, width, aggregation, output):
        super().__init__()
        self._mask_layer = nn.Sequential(
            nn.Linear(width, aggregation), nn.ReLU(), nn.Linear(aggregation, width)
        )
        self._hidden_layer = nn.Linear(width, output)
        self._layer_norm = nn.LayerNorm(output)

    def forward(self, net, mask_input):
        return self._layer_norm(self._hidden_layer(net * self._mask_layer(mask_input)))


class MaskNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self._mask_blocks = nn.ModuleList([MaskBlock(width, 8, 6)])
        self._dense_layers = Mlp(nn.Linear(6, 10), nn.ReLU())

    def forward(self, x):
        return self._dense_layers(torch.cat([block(x, x) for block in self._mask_blocks], dim=1))


class PositionDebias(nn.Module):
    def __init__(self, max_position, width):
        super().__init__()
        self._embedding = nn.Embedding(max_position + 2, width)

    def forward(self, rows):
        """The position is unknown in evaluation."""
        return self._embedding.weight[-1].expand(rows, -1)


class Calibrator(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("ratio", torch.tensor(0.0))

    def forward(self, p):
        return p * self.ratio / (1 - p + self.ratio * p)


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self._preprocessor = Preprocessor(9, 5)
        self._small_embeddings = nn.ModuleDict({"topic": nn.Embedding(5, 3)})
        self._user_embedding_layer_norm = nn.LayerNorm(4)
        self._position_debias = PositionDebias(6, 2)
        self._backbone = MaskNet(9 + 5 + 3 + 4 + 2)
        self._towers = nn.ModuleDict(
            {
                "label__fav": Mlp(
                    nn.Linear(10, 6), nn.BatchNorm1d(6, affine=False), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 1)
                ),
                "label__reply": Mlp(nn.Linear(10, 6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 1)),
            }
        )
        self._calibrators = nn.ModuleDict({name: Calibrator() for name in self._towers})

    def forward(self, batch):
        features = [
            self._preprocessor(batch["continuous"], batch["binary"]),
            self._small_embeddings["topic"](batch["discrete"][:, 2].clamp(0, 4)),
            self._user_embedding_layer_norm(batch["user_embedding"]),
            self._position_debias(len(batch["continuous"])),
        ]
        shared = self._backbone(torch.cat(features, dim=1))
        logits = torch.cat([tower(shared) for tower in self._towers.values()], dim=1)
        calibrated = [
            calibrator(torch.sigmoid(logits[:, t])) for t, calibrator in enumerate(self._calibrators.values())
        ]
        return {"logits": logits, "calibrated": torch.stack(calibrated, dim=1)}


class ModelAndLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Ranker()


def main(model_path, batch_path):
    module = ModelAndLoss()
    module.load_state_dict(load_file(model_path), strict=True)
    module.eval()
    batch = load_file(batch_path)
    with torch.no_grad():
        found = module.model(batch)
    worst = max((found[name] - batch[name]).abs().max().item() for name in found)
    print(f"largest difference {worst:.1e} over {batch['logits'].numel()} logits")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
