"""Parse a prompt. Find its citations, the requested number of images, the aspect ratio and the listed shots."""

import re
from dataclasses import dataclass

MAX_PROMPT_CHARACTERS = 2500

# The (?a:…) groups match ASCII letters only, because the matched words are keys of a table. Without (?a:…), words with
# "ſ" instead of "s", or with "ı" instead of "i", would also match and cause a KeyError.
_BRACKETS = (("<<<?", ">?>>"), ("《《《?", "》?》》"), ("&lt;&lt;(?:&lt;)?", "(?:&gt;)?&gt;&gt;"))
_IN_BRACKETS = "|".join(rf"{left}\s*((?a:image|element|object))\s*_?\s*(\d+)\s*{right}" for left, right in _BRACKETS)
_AFTER_AT = r"(?a:(?<![\w.@]))@((?a:image|element))_?(\d+)(?a:(?!\w))"
_CITATION = re.compile(f"{_IN_BRACKETS}|{_AFTER_AT}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Citation:
    """A citation in a prompt. For example, `<<<image_2>>>` is `Citation("image", 2, "<<<image_2>>>")`.

    `must_exist` is false for a citation that starts with `@`, such as `@image_2`. If the image or element of such a
    citation does not exist, the citation is treated as ordinary text.
    """

    kind: str
    number: int
    text: str

    @property
    def must_exist(self) -> bool:
        return not self.text.startswith("@")


def citations(prompt: str) -> tuple[Citation, ...]:
    """Return all citations in a prompt, in order.

    The following forms have the same meaning as `<<<image_2>>>`: `<<image_2>>`, `<<<image2>>>`, `《《《image_2》》》`,
    the HTML-escaped form of the brackets, `@image_2` and `@image2`. Spaces inside the brackets are ignored.
    """
    return tuple(_citation(match) for match in _CITATION.finditer(prompt))


def _citation(match: re.Match[str]) -> Citation:
    kind, number = filter(None, match.groups())
    return Citation(kind.lower(), int(number), match[0])


def resolve_citation(citation: Citation, *, images: int, elements: int) -> tuple[str, int] | None:
    """Return the cited image or element as `("image", index)` or `("element", index)`. The index starts at 0.

    `<<<object_2>>>` cites the second element, or the second image if the request has no elements. Returns None if the
    request does not contain the cited image or element.
    """
    kind = citation.kind
    if kind == "object":
        kind = "element" if elements else "image"
    count = elements if kind == "element" else images
    return (kind, citation.number - 1) if 1 <= citation.number <= count else None


@dataclass(frozen=True, slots=True)
class Cited:
    """An image or element that a prompt cites. `kind` is "image" or "element". `index` starts at 0."""

    kind: str
    index: int


def prompt_parts(prompt: str, *, images: int, elements: int) -> tuple[str | Cited, ...]:
    """Split a prompt into its text and its citations, in order. Empty text is omitted.

    The citations are separate parts, because each engine formats citations differently. A citation remains text if the
    request does not contain the cited image or element.
    """
    parts: list[str | Cited] = []
    text, end = "", 0
    for match in _CITATION.finditer(prompt):
        cited = resolve_citation(_citation(match), images=images, elements=elements)
        text += prompt[end : match.start() if cited else match.end()]
        end = match.end()
        if cited:
            parts += [text, Cited(*cited)] if text else [Cited(*cited)]
            text = ""
    return (*parts, text + prompt[end:]) if text + prompt[end:] else tuple(parts)


# --- numbers ---------------------------------------------------------------------------------------------------

_ENGLISH = {
    w: i
    for i, w in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), 1
    )
}
_CHINESE = {c: i for i, c in enumerate("一二三四五六七八九十", 1)} | {"两": 2, "兩": 2, "俩": 2}
_WORDS = {"a couple of": 2, "couple of": 2, "half a dozen": 6, "a dozen": 12, "dozen": 12} | _ENGLISH
_NUMBER_WORDS = "|".join(sorted((word.replace(" ", r"\s{1,4}") for word in _WORDS), key=len, reverse=True))
_EN_NUMBER = rf"(?<![\d:.,：/])\d{{1,4}}(?![\d:：])|\b(?a:{_NUMBER_WORDS})\b"
_ZH_NUMBER = r"(?<![\d:.：])\d{1,4}(?!\d)|(?<!第)(?:十[一二三四五六七八九]?|[一二两兩三四五六七八九])"


def _number(text: str) -> int:
    text = " ".join(text.lower().split())
    if text.isdigit():
        return int(text)
    if text in _WORDS:
        return _WORDS[text]
    if len(text) == 2 and text[0] == "十":
        return 10 + _CHINESE[text[1]]
    return _CHINESE[text]


# --- number of images ------------------------------------------------------------------------------------------

_UNITS = (
    "frame|panel|shot|scene|image|picture|pic|photo|photograph|page|slide|illustration|sticker|keyframe|poster"
    "|render|still|variation|design|option"
)
_COUNTS = (
    # "three-frame", "4 panels", "5 images"
    re.compile(rf"({_EN_NUMBER})[\s-]{{0,4}}(?:{_UNITS})s?\b", re.IGNORECASE),
    # "three product storyboard frames": one to three words are allowed before the noun. None of these words may end in
    # "s": in "two cats watching images", the number refers to "cats" and not to "images".
    re.compile(
        rf"({_EN_NUMBER})[\s-]{{1,4}}(?:(?!\w{{0,30}}s\b)\w[\w-]{{0,30}}\s{{1,4}}){{1,3}}(?:{_UNITS})s\b", re.IGNORECASE
    ),
    # "a set of 5", "a series of four foxes"
    re.compile(
        rf"\b(?:set|series|sequence|collection|story|storyboard|strip|grid)\s{{1,4}}(?:of|in|with)\s{{1,4}}({_EN_NUMBER})",
        re.IGNORECASE,
    ),
    # "five part story", "six views of a chair"
    re.compile(
        rf"({_EN_NUMBER})[\s-]{{0,4}}(?:parts?[\s-]{{1,4}}(?:story|series|set|sequence|comic)|views\s{{1,4}}of)\b",
        re.IGNORECASE,
    ),
    # "四格漫画", "3张图", "五个镜头", "九宫格"
    re.compile(
        rf"({_ZH_NUMBER})\s{{0,4}}(?:宫格|格|幅|[张張](?![桌椅床纸紙嘴脸臉沙票凳弓])|帧|幀|联画|連畫|联|页|頁|连拍|组图|"
        r"(?:个|個)(?:镜头|鏡頭|画面|畫面|场景|場景|分镜|分鏡|画格|步骤)|(?:图|圖)(?!书))"
    ),
)
_GRID = re.compile(
    rf"({_EN_NUMBER})\s{{0,4}}(?:x|×|by)\s{{0,4}}({_EN_NUMBER})[\s-]{{1,4}}(?:grid|panel|frame|image|picture)",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\b(diptych|triptych|quadriptych|polyptych)\b", re.IGNORECASE)
_NAMED_COUNTS = {"diptych": 2, "triptych": 3, "quadriptych": 4}


def requested_images(prompt: str) -> int | None:
    """Return the number of images that a prompt requests, or None if the prompt contains no such number.

    The number can be a word or digits, in English or Chinese. A grid ("2x3 grid") takes precedence over a word such as
    "triptych", which in turn takes precedence over other numbers. If there are several other numbers, the first number
    is returned. The "one" in "one image" and the "一" in "一张" are treated as articles, not as numbers. Numbers in the
    text of listed shots (see `listed_shots`) are ignored. The result may exceed the limits of the Kling API.
    """
    listed = listed_shots(prompt)
    text = listed.shared if listed else prompt
    if grid := _GRID.search(text):
        return _number(grid[1]) * _number(grid[2])
    if (named := _NAMED.search(text)) and named[1].lower() in _NAMED_COUNTS:
        return _NAMED_COUNTS[named[1].lower()]
    matches = (m for pattern in _COUNTS for m in pattern.finditer(text) if _number(m[1]) > 1)
    first = min(matches, key=lambda m: m.start(), default=None)
    return _number(first[1]) if first else None


# --- listed shots ----------------------------------------------------------------------------------------------

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_BEFORE = r"(?:^|(?<=[\s.;,!?。；，(\[*#]))"
# Almost every quantifier for whitespace has a limit, because two adjacent unlimited quantifiers can take quadratic
# time.
_MARKERS = (
    re.compile(
        rf"{_BEFORE}(?:frame|panel|shot|scene|image|picture|page|slide|step|cut)\s{{0,4}}(?:#\s{{0,4}})?"
        rf"(?P<n>\d{{1,2}}|(?a:{'|'.join(_ENGLISH)}))\s{{0,4}}\*{{0,3}}[ \t]{{0,4}}"
        r"(?:[:：)\]]|\.\s|[-–—]\s|\n|(?=\s(?:shows?|depicts?|is|has)\b))\s{0,4}\*{0,3}\s*",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_BEFORE}(?:the\s{{1,4}})?(?P<n>(?a:{'|'.join(_ORDINALS)}))\s{{1,4}}(?:frame|panel|shot|scene|image|picture)\s{{0,4}}[:：-]\s*",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:第\s{0,4}(?P<n>\d{1,2}|十?[一二三四五六七八九]|十)\s{0,4}(?:格|幅|张|張|帧|幀|镜|鏡|页|頁|幕|"
        r"(?:个|個)?(?:镜头|鏡頭|画面|畫面|场景|場景|分镜|分鏡))(?:图片?|圖片?|照片|画面)?)\s{0,4}[:：、，,.．。是为]?\s{0,4}"
    ),
    re.compile(
        r"(?:镜头|鏡頭|画面|畫面|分镜|分鏡|场景|場景|图片|图|圖|帧)\s{0,4}(?P<n>\d{1,2}|十?[一二三四五六七八九]|十)\s{0,4}[:：、，,.．]\s*"
    ),
    re.compile(
        r"^[ \t]{0,8}(?:[-*][ \t]{0,4})?\(?(?P<n>\d{1,2}|十?[一二三四五六七八九]|十)[.)、:：）][ \t]*(?=\D)",
        re.MULTILINE,
    ),
    re.compile(r"(?P<n>[①②③④⑤⑥⑦⑧⑨])\s*"),
)
_MARKUP = " \t\r\n*#•-–—"


def _marker_number(text: str) -> int:
    if text in "①②③④⑤⑥⑦⑧⑨":
        return ord(text) - ord("①") + 1
    if text.lower() in _ORDINALS:
        return _ORDINALS.index(text.lower()) + 1
    return _number(text)


def _markers(prompt: str) -> list[re.Match[str]]:
    """Return the markers that precede listed shots, such as "Frame 1:".

    A pattern is suitable if it matches at least twice, and if its matches are numbered 1, 2, 3 … in this order. The
    result contains all matches of the first suitable pattern. Returns an empty list if no pattern is suitable.
    """
    for pattern in _MARKERS:
        markers = list(pattern.finditer(prompt))
        if len(markers) >= 2 and [_marker_number(m["n"]) for m in markers] == list(range(1, len(markers) + 1)):
            return markers
    return []


@dataclass(frozen=True, slots=True)
class ListedShots:
    """The shots that a prompt lists. At least two of the shots have text.

    `shared` is the text that applies to all shots: the text before the first shot, and the text after the last shot's
    paragraph.
    """

    shared: str
    shots: tuple[str, ...]


def listed_shots(prompt: str) -> ListedShots | None:
    """Return the shots that a prompt lists, or None if the prompt lists fewer than two shots with text.

    The list has the form "Frame 1: … Frame 2: …" or "镜头一：…", or consists of numbered lines.
    """
    markers = _markers(prompt)
    if not markers:
        return None
    ends = [m.start() for m in markers[1:]] + [len(prompt)]
    texts = [prompt[m.end() : end].strip(_MARKUP) for m, end in zip(markers, ends, strict=True)]
    last, _, tail = texts[-1].partition("\n\n")
    texts[-1] = last.strip(_MARKUP)
    texts = [text if re.search(r"\w", text) else "" for text in texts]
    if sum(map(bool, texts)) < 2:
        return None
    shared = " ".join(part for part in (prompt[: markers[0].start()].strip(_MARKUP), tail.strip(_MARKUP)) if part)
    return ListedShots(shared, tuple(texts))


# --- aspect ratio ----------------------------------------------------------------------------------------------

_RATIO = re.compile(r"(?<![\d:：.])(?<!\b(?i:at) )(\d{1,2})\s{0,4}(?:[:：∶]|比)\s{0,4}(\d{1,2})(?![\d:：.]\d|\d)")
_NARROW = r"(?:narrow|tall|vertical|portrait)"
_FORM = (
    r"(?:\w+\s+)?(?:image|picture|photo|format|frame|video|poster|banner|composition|orientation|layout|shot|wallpaper"
    r"|storyboard|story|comic|crop|aspect|ratio|panel|screen|mode)"
)
_RATIO_WORDS = (
    ("21:9", r"cinematic\s+wide|ultra-?\s?wide|anamorphic|cinemascope|宽银幕|电影宽屏|電影寬屏|超宽|超寬"),
    ("2:3", rf"{_NARROW}\s+(?:\w+\s+)?poster|(?:movie|film)\s+poster|竖版海报|竖幅海报|直式海報|电影海报|電影海報"),
    (
        "9:16",
        r"(?:phone|mobile|iphone|android|lock\s?screen)\s+(?:\w+\s+)?(?:wallpaper|background)|"
        rf"(?:in\s+vertical|vertical(?:ly)?\s+{_FORM})"
        r"|portrait\s+(?:orientation|format|mode|aspect|ratio)|instagram\s+stor|tiktok|\breels?\b"
        r"|竖屏|竖版|竖幅|竖构图|竖向|豎屏|直式|手机壁纸|手機壁紙|手机屏保",
    ),
    (
        "16:9",
        r"wide-?\s?screen|landscape\s+(?:orientation|format|mode|aspect|ratio)|"
        rf"(?:in\s+horizontal|horizontal(?:ly)?\s+{_FORM})"
        r"|(?:desktop|computer|laptop|pc)\s+(?:\w+\s+)?(?:wallpaper|background)|youtube\s+thumbnail"
        r"|横屏|横版|横幅|横构图|橫屏|橫式|宽屏|寬屏|电脑壁纸|桌面壁纸|電腦桌布",
    ),
    (
        "1:1",
        r"\bsquare\s+(?:format|image|picture|photo|crop|composition|aspect|ratio|canvas|post)|album\s+cover|\bavatar\b"
        r"|profile\s+(?:picture|photo|pic)|正方形|方形构图|方图|专辑封面|頭像|头像",
    ),
)
_RATIO_PATTERNS = tuple((ratio, re.compile(words, re.IGNORECASE)) for ratio, words in _RATIO_WORDS)
_RATIO_HINTS = (
    "wide anamorphic cinemascope poster wallpaper background vertical portrait instagram tiktok reel landscape "
    "horizontal youtube square album avatar profile "
    "宽 寬 海报 海報 竖 豎 直式 壁纸 壁紙 屏 横 橫 桌布 方形 方图 专辑 頭像 头像"
).split()
"""Every match of `_RATIO_PATTERNS` contains at least one of these substrings.

Few prompts contain any of the substrings, and searching for the substrings is ten times as fast as matching the
patterns.
"""


def requested_ratio(prompt: str, ratios: tuple[str, ...]) -> str | None:
    """Return the aspect ratio that a prompt requests, or None if the prompt requests no ratio in `ratios`.

    A ratio in numbers ("16:9") takes precedence over a word ("竖屏").
    """
    if any(sign in prompt for sign in ":：∶比"):
        for match in _RATIO.finditer(prompt):
            if (ratio := f"{int(match[1])}:{int(match[2])}") in ratios:
                return ratio
    folded = prompt.casefold()
    if not any(hint in folded for hint in _RATIO_HINTS):
        return None
    return next((ratio for ratio, pattern in _RATIO_PATTERNS if ratio in ratios and pattern.search(prompt)), None)
