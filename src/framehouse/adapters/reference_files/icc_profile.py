"""Write ICC profiles for RGB colours that a file describes by code points, or by chromaticities and a curve.

Sources: the ICC specification (ICC.1:2001-04), and ITU-T H.273 for the code points.
"""

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Chromaticities = tuple[tuple[float, float], ...]
"""The CIE xy coordinates of white, red, green and blue."""
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
SRGB_CHROMATICITIES: Chromaticities = (_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_STUDIO: Chromaticities = (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB_CHROMATICITIES,
    4: (_C, (0.670, 0.330), (0.210, 0.710), (0.140, 0.080)),
    5: (_D65, (0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: _STUDIO,
    7: _STUDIO,
    8: (_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
"""The chromaticities of the colour primaries in H.273."""
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VIDEO_CURVE = (2.4,)
_CURVES: dict[int, tuple[float, ...]] = {
    1: _VIDEO_CURVE,
    4: (2.2,),
    5: (2.8,),
    6: _VIDEO_CURVE,
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1.0,),
    11: _VIDEO_CURVE,
    13: SRGB_CURVE,
    14: _VIDEO_CURVE,
    15: _VIDEO_CURVE,
    17: (2.6, (52.37 / 48) ** (1 / 2.6), 0, 0, 0),
}
"""The curves of the transfer characteristics in H.273. For the parameters of a curve, see `rgb_profile`. As in
Chromium, video uses the curve of a display (BT.1886)."""
_D50 = (0.9642, 1.0, 0.8249)
_CONE_RESPONSE = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""The matrix of the Bradford method, which adapts colours to another white."""
_HEADER_BYTES, _TAG_BYTES = 128, 12


def profile_of_code_points(primaries: int, transfer: int) -> bytes:
    """Return a profile for the colour primaries and the transfer characteristics of H.273.

    Returns b"" for unknown code points and for high dynamic range.
    """
    if primaries in _PRIMARIES and transfer in _CURVES:
        return rgb_profile(_PRIMARIES[primaries], _CURVES[transfer])
    return b""


def rgb_profile(chromaticities: Chromaticities, curve: Sequence[float]) -> bytes:
    """Return a profile of RGB colours.

    `curve` is (g,) for the curve x^g, or (g, a, b, c, d) for the curve (a x + b)^g, and c x where x < d. Returns b"" if
    the chromaticities or the curve are impossible.
    """
    with np.errstate(all="ignore"):
        try:
            columns = _matrix(chromaticities).T
        except np.linalg.LinAlgError:
            return b""
    if not np.isfinite(columns).all() or abs(columns).max() > 4 or not 0.1 < curve[0] < 10:
        return b""
    parametric = b"para\0\0\0\0" + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + _fixed(curve)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), parametric)
    for name, xyz in ((b"wtpt", _D50), *zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)):
        tags[name] = b"XYZ \0\0\0\0" + _fixed(xyz)
    return _file(tags)


def _matrix(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """Return the matrix that converts linear RGB colours to XYZ colours with the white D50."""
    white, *primaries = [np.array((x / y, 1, (1 - x - y) / y)) for x, y in np.array(chromaticities, float)]
    columns = np.stack(primaries, 1)
    columns = columns * np.linalg.solve(columns, white)
    scale = (_CONE_RESPONSE @ _D50) / (_CONE_RESPONSE @ white)
    adapted: NDArray[np.float64] = np.linalg.inv(_CONE_RESPONSE) @ np.diag(scale) @ _CONE_RESPONSE @ columns
    return adapted


def _fixed(numbers: Iterable[float]) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _file(tags: dict[bytes, bytes]) -> bytes:
    """Return a version 2 profile of a display."""
    at = _HEADER_BYTES + 4 + _TAG_BYTES * len(tags)
    table, data = [], []
    for name, value in tags.items():
        table.append(struct.pack(">4sII", name, at, len(value)))
        data.append(value)
        at += len(value)
    header = struct.pack(">I4xI4s4s4s12x4s28x", at, 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp") + _fixed(_D50)
    header = header.ljust(_HEADER_BYTES, b"\0") + struct.pack(">I", len(tags))
    return b"".join((header, *table, *data))
