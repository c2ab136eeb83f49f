"""NASNet-A (4 @ 1056) for mobile devices, with the graph of keras.applications: "Learning Transferable Architectures
for Scalable Image Recognition" (Zoph et al., CVPR 2018).

The inputs of a cell are the two previous outputs, here `x` and the older `p`. Separable convolutions are applied twice,
and a `p` of twice the height and width is halved by two shifted subsamplings in parallel ("factorised reduction").
"""

from __future__ import annotations

from datasets.networks.builder import NetworkBuilder, same


def nasnet_mobile(net: NetworkBuilder, x: int, classes: int) -> int:
    """Append a stem, two reduction cells, then three times four normal cells with a reduction cell in between."""
    filters, blocks = 44, 4
    x = net.conv_bn(x, 32, 3, 2, pad=0)
    x, p = _reduction(net, x, None, filters // 4)
    x, p = _reduction(net, x, p, filters // 2)
    for stage in range(3):
        if stage:
            x, p = _reduction(net, x, p, filters)
        for _ in range(blocks):
            x, p = _normal(net, x, p, filters)
        filters *= 2
    x = net.pointwise("relu", x)
    return net.add("dense", (classes,), net.add("global_avg_pool", net.shape(x)[:1], x))


def _normal(net: NetworkBuilder, x: int, p: int, filters: int) -> tuple[int, int]:
    p, h = _adjusted(net, p, x, filters), _relu_conv_bn(net, x, filters)
    y1 = _add(net, _separable(net, h, filters, 5), _separable(net, p, filters, 3))
    y2 = _add(net, _separable(net, p, filters, 5), _separable(net, p, filters, 3))
    y3 = _add(net, _average(net, h), p)
    y4 = _add(net, _average(net, p), _average(net, p))
    y5 = _add(net, _separable(net, h, filters, 3), h)
    return net.concat(p, y1, y2, y3, y4, y5), x


def _reduction(net: NetworkBuilder, x: int, p: int | None, filters: int) -> tuple[int, int]:
    p, h = x if p is None else _adjusted(net, p, x, filters), _relu_conv_bn(net, x, filters)
    channels, height, width = net.shape(h)
    top, left, bottom, right = sides = same(net.shape(h), 3, 2)
    padded = net.add(
        "pad", (channels, height + top + bottom, width + left + right), h, pad=sides
    )  # with zeros, even for max
    y1 = _add(net, _separable(net, h, filters, 5, 2), _separable(net, p, filters, 7, 2))
    y2 = _add(net, net.pool("max_pool", padded, 3, 2), _separable(net, p, filters, 7, 2))
    y3 = _add(net, net.pool("avg_pool", padded, 3, 2), _separable(net, p, filters, 5, 2))
    y4 = _add(net, y2, _average(net, y1))
    y5 = _add(net, _separable(net, y1, filters, 3), net.pool("max_pool", padded, 3, 2))
    return net.concat(y2, y3, y4, y5), x


def _adjusted(net: NetworkBuilder, p: int, x: int, filters: int) -> int:
    """`p` with the height and width of `x` and `filters` channels."""
    if net.shape(p)[1:] == net.shape(x)[1:]:
        return p if net.shape(p)[0] == filters else _relu_conv_bn(net, p, filters)
    p = net.pointwise("relu", p)
    shifted = net.pointwise("pad", p, pad=(-1, -1, 1, 1))
    halves = [net.conv(net.pool("avg_pool", view, 1, 2), filters // 2, 1) for view in (p, shifted)]
    return net.pointwise("bn", net.concat(*halves))


def _separable(net: NetworkBuilder, x: int, filters: int, kernel: int, stride: int = 1) -> int:
    for step in (stride, 1):
        x = net.pointwise("relu", x)
        channels = net.shape(x)[0]
        x = net.conv(x, channels, kernel, step, groups=channels, pad=same(net.shape(x), kernel, step))
        x = net.conv_bn(x, filters, 1)
    return x


def _relu_conv_bn(net: NetworkBuilder, x: int, filters: int) -> int:
    return net.conv_bn(net.pointwise("relu", x), filters, 1)


def _average(net: NetworkBuilder, x: int) -> int:
    return net.pool("avg_pool", x, 3, 1, pad=1)


def _add(net: NetworkBuilder, x: int, y: int) -> int:
    return net.pointwise("add", x, y)
