"""The class of all pictograms, and our own pictograms, which extend the vendored pack (`pictograms.pack`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pictogram:
    """A drawing of a subject.

    `body` contains SVG code, and `view` (x, y, width, height) is its tight bounding box in SVG coordinates. `english`
    contains the English name and then English keywords. `chinese` contains the same in Chinese, or is empty. Some
    figures end at the waist or the shoulders. For such a figure, `cut` contains the x coordinates of both ends of the
    lower edge, and the colour at this edge.
    """

    name: str
    kind: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    view: tuple[float, float, float, float]
    body: str
    cut: tuple[float, float, str] | None = None

    @property
    def aspect(self) -> float:
        """The aspect ratio (width / height)."""
        return self.view[2] / self.view[3]


_ROBOT = """<path fill="#8b93a7" d="M15 1h2v5h-2z"/><circle cx="16" cy="2" r="2" fill="#f8312f"/>
<rect x="6" y="5" width="20" height="15" rx="5" fill="#cdd3e0"/><path fill="#b4bccd" d="M6 14h20v1q0 5-5 5H11q-5 0-5-5z"/>
<rect x="3.5" y="9" width="3" height="7" rx="1.5" fill="#8b93a7"/><rect x="25.5" y="9" width="3" height="7" rx="1.5" fill="#8b93a7"/>
<rect x="9" y="8.6" width="14" height="7" rx="3.5" fill="#2b3145"/><circle cx="12.8" cy="12.1" r="1.9" fill="#3fd0ff"/>
<circle cx="19.2" cy="12.1" r="1.9" fill="#3fd0ff"/><path fill="#8b93a7" d="M13 20h6v2.4h-6z"/>
<rect x="8" y="22" width="16" height="14" rx="4" fill="#cdd3e0"/><path fill="#b4bccd" d="M8 31h16v1q0 4-4 4h-8q-4 0-4-4z"/>
<rect x="12" y="25" width="8" height="5" rx="1.5" fill="#2b3145"/><circle cx="14.2" cy="27.5" r="1" fill="#ffcc4d"/>
<circle cx="17.8" cy="27.5" r="1" fill="#44d07b"/><path fill="#8b93a7" d="M4 23.5q4-1.8 4.6 1.2l-.6 9.3H4.6q-1.6-5.4-.6-10.5zM28 23.5
q-4-1.8-4.6 1.2l.6 9.3h3.4q1.600-5.400.6-10.5z"/><circle cx="6" cy="35" r="2.2" fill="#cdd3e0"/><circle cx="26" cy="35" r="2.2" fill="#cdd3e0"/>
<path fill="#8b93a7" d="M11 36h3.600v6H11zM17.400 36H21v6h-3.600z"/><path fill="#5d657b" d="M8.600 45v-2q0-2 2-2h4.200v4zM23.400 45v-2q0-2-2-2h-4.200v4z"/>"""

_BALLOON = """<path fill="#e8503a" d="M16 1C7.500 1 2.500 7 2.500 13.500 2.500 20 9 25.500 12.500 30h7C23 25.500 29.500 20 29.500 13.500 29.500 7 24.500 1 16 1z"/>
<path fill="#ffc642" d="M16 1c-4.600 0-7.400 6-7.400 12.500 0 6 3 12 5 16.500h1V1zM16 1c4.600 0 7.400 6 7.400 12.500 0 6-3 12-5 16.500h-1V1z"/>
<path fill="#e8503a" d="M16 1c-2 0-3.200 6-3.200 12.500S14 26 14.600 30h2.800c.6-4 1.800-10 1.800-16.500S18 1 16 1z"/>
<path fill="#c23a2a" d="M11.600 28.800h8.800l-1 1.800h-6.800z"/><path stroke="#7a5230" stroke-width=".6" d="M12.800 30.500l.6 5M19.200 30.500l-.6 5"/>
<path fill="#a5703f" d="M12.400 35h7.200l-.6 4.600q-3 1-6 0z"/><path fill="#7a5230" d="M12.200 34.600h7.600v1.300h-7.600z"/>"""

_SUBMARINE = """<path fill="#5d657b" d="M17 1h5v2h-3v6h-2z"/><path fill="#e0a52c" d="M11 8h11q2 0 2.400 2.400L25 14H10l.4-3.800Q10.600 8 11 8z"/>
<path fill="#ffc642" d="M6 13h22q9 0 11 6.500Q37 27 28 27H8q-7 0-7-7t5-7z"/><path fill="#e0a52c" d="M1 20.500h38Q37 27 28 27H8q-7 0-7-6.500z"/>
<circle cx="12" cy="19" r="3" fill="#8a5a1e"/><circle cx="12" cy="19" r="2.100" fill="#8fdcff"/><circle cx="21" cy="19" r="3" fill="#8a5a1e"/>
<circle cx="21" cy="19" r="2.100" fill="#8fdcff"/><circle cx="30" cy="19" r="3" fill="#8a5a1e"/><circle cx="30" cy="19" r="2.100" fill="#8fdcff"/>
<path fill="#8b93a7" d="M38 18.500h2.600v3H38zM40 14q2.600 1.600 1.400 5.800-2.800-1.400-1.400-5.800zM40 26q2.600-1.600 1.400-5.800-2.800 1.400-1.400 5.800z"/>"""

_LIGHTHOUSE = """<path fill="#d8dde6" d="M10.500 12h11l3 34h-17z"/><path fill="#e8503a" d="M10 17.600h12l.7 7.600H9.300zM8.600 33h14.800l.7 7.600H7.900z"/>
<path fill="#000" opacity=".10" d="M17.500 12h4l3 34h-6z"/><path fill="#3d4660" d="M8.500 10.600h15V13h-15z"/><path fill="#ffe27a" d="M11.500 5h9v5.800h-9z"/>
<path fill="#3d4660" d="M13.500 5h.8v5.800h-.8zM17.700 5h.8v5.800h-.8z"/><path fill="#c23a2a" d="M16 .5l6 4.700H10z"/><path fill="#5d3a2a" d="M14 40.500q2-2.400 4 0V46h-4z"/>
<rect x="14.900" y="27.500" width="2.200" height="3" rx="1" fill="#3d4660"/>"""

_PERFUME = """<rect x="12" y="1" width="8" height="7" rx="1.500" fill="#3a2f3d"/><rect x="12" y="1" width="3" height="7" rx="1.500" fill="#5d4c61"/>
<path fill="#e5c27a" d="M13 8h6v2.600h-6z"/><rect x="4" y="10" width="24" height="26" rx="4" fill="#f6b7a8"/>
<path fill="#fbd6cb" d="M8 10h4v26H8q-4 0-4-4V14q0-4 4-4z"/><path fill="#ee9a8b" d="M4 22h24v10q0 4-4 4H8q-4 0-4-4z" opacity=".75"/>
<rect x="9.500" y="17" width="13" height="11" rx="1" fill="#fff6ee"/><path fill="#c99a4e" d="M11.500 20h9v1.200h-9zM13 23.400h6v.9h-6z"/>"""

_KNIGHT = """<path fill="#7d889c" d="M10.500 36h4v7h-4zM17.500 36h4v7h-4z"/><path fill="#566077" d="M8.500 46v-2q0-2 2.400-2h3.800v4zM23.500 46v-2q0-2-2.400-2h-3.800v4z"/>
<path fill="#a9b4c6" d="M9 20h14q3 0 3 4l-2 13H8L6 24q0-4 3-4z"/><path fill="#c0392b" d="M11 21h10v16l-5 3-5-3z"/><path fill="#e8b23a" d="M15 24h2v3h3v2h-3v5h-2v-5h-3v-2h3z"/>
<path fill="#8793a8" d="M4.500 22q4-2.400 5 1l-1 10H5z"/><path fill="#8793a8" d="M27.500 22q-4-2.400-5 1l1 10H27z"/>
<path fill="#c0392b" d="M16 0q5 0 6 4-3-1-5 1z"/><path fill="#b9c3d3" d="M8 11q0-8 8-8t8 8v8q-3 3-8 3t-8-3z"/><path fill="#98a4b8" d="M16 3q8 0 8 8v8q-3 3-8 3z"/>
<path fill="#2b3145" d="M9.500 11h13v3h-13z"/><path fill="#7d889c" d="M15.300 10h1.400v11h-1.400z"/><path fill="#dfe5ee" d="M28 8h1.600v22H28z"/>
<path fill="#8a5a1e" d="M26 29h5.600v1.800H26zM28 30.500h1.600V36H28z"/><path fill="#3a6fc0" d="M.5 23h9v7q0 5-4.500 7.500Q.5 35 .5 30z"/><path fill="#e8b23a" d="M4.200 25h1.600v10H4.200zM2 28.500h6v1.600H2z"/>"""


def _own(name: str, kind: str, view: tuple[float, float, float, float], body: str) -> Pictogram:
    return Pictogram(name, kind, (name.replace("-", " "),), (), view, body)


OWN = {
    drawn.name: drawn
    for drawn in (
        _own("robot", "person-fantasy", (3, 0, 26, 45), _ROBOT),
        _own("hot-air-balloon", "transport-air", (2.5, 1, 27, 39), _BALLOON),
        _own("submarine", "transport-water", (1, 1, 41, 26), _SUBMARINE),
        _own("lighthouse", "place-building", (7, 0.5, 18, 45.5), _LIGHTHOUSE),
        _own("perfume", "household", (4, 1, 24, 35), _PERFUME),
        _own("knight", "person-fantasy", (0.5, 0, 31.5, 46), _KNIGHT),
    )
}
