"""Networks: plain `nn.Module`s that read like their papers."""
